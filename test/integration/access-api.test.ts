import { moeLayers } from '@shoal/model';
import { shardHash } from '@shoal/weights';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Access } from '../../coordinator/src/access/access.ts';
import { entry } from '../../coordinator/src/access/testing/fixtures.ts';
import { ApiKeys } from '../../coordinator/src/access/api-keys.ts';
import { startServer } from '../../coordinator/src/http/testing/harness.ts';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { type Guarded, RULES, startGuarded } from './access-rules.ts';
import { until } from './virtual-donor.ts';

let guarded: Guarded;
let coordinator: Coordinator;

beforeAll(async () => {
  guarded = await startGuarded();
  ({ coordinator } = guarded);
});
afterAll(() => coordinator?.close());

const client = (apiKey: string) => new OpenAI({ baseURL: `${coordinator.url}/v1`, apiKey, maxRetries: 0 });
const story = { model: 'tiny-stories', prompt: 'Once upon a time', max_tokens: 4, seed: 1 };

/** `outcome` and the error of openai's client; the promise must reject. */
const thrown = (work: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> =>
  work.then(
    () => expect.unreachable('should have been refused'),
    (error: InstanceType<typeof OpenAI.APIError>) => error,
  );

describe('the API with keys', () => {
  it('answers those who have one, and names the limit that they have left', async () => {
    const { data, response } = await client('key-of-bob').completions.create(story).withResponse();
    expect(data.usage?.completion_tokens).toBe(4);
    expect(response.headers.get('x-ratelimit-limit-requests')).toBe('2');
    expect(response.headers.get('x-ratelimit-remaining-requests')).toBe('1');
    expect((await client('key-of-ann').models.list()).data[0]?.id).toBe('tiny-stories');
  });

  it.each(['none', 'key-of-Ann', 'invite-for-class', 'token-of-otto'])('refuses the key %s', async (key) => {
    const error = await thrown(client(key).completions.create(story));
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError);
    expect(error).toMatchObject({ status: 401, code: 'invalid_api_key', type: 'invalid_request_error', param: null });
    expect(error.message).not.toContain(key);
  });

  it('asks on every path that leads there, in whatever spelling', async () => {
    const spellings = ['/v1/models', '/v1/models/tiny-stories', '/%76%31/models', '/v1/models?x=/docs'];
    const repaired = [
      '/models',
      '/models/',
      '//v1//models',
      '/v1/v1/models',
      '/v1/models/',
      '/models/tiny-stories?/docs',
    ];
    const dotted = [
      '/./v1/models',
      '/docs/..%2fv1/models',
      '/docs/%2e%2e/v1/models',
      '/v1%2fmodels',
      '/models%2f',
      '/;/models',
    ];
    for (const spelling of [...spellings, ...repaired, ...dotted]) {
      const response = await fetch(coordinator.url + spelling, { redirect: 'manual' });
      expect(response.status, spelling).not.toBe(200);
      expect(await response.text(), spelling).not.toContain('owned_by');
    }
    for (const headers of [
      {},
      { authorization: 'Basic a2V5' },
      { authorization: 'Bearer ' },
      { authorization: 'key-of-ann' },
    ]) {
      const response = await fetch(`${coordinator.url}/v1/models`, { headers });
      expect(response.status).toBe(401);
      expect(response.headers.get('www-authenticate')).toBe('Bearer');
    }
    for (const spelling of ['/metrics', '/metrics/', '//metrics']) {
      expect((await fetch(coordinator.url + spelling)).status, spelling).toBe(401);
    }
    expect((await fetch(`${coordinator.url}/healthz`)).status).toBe(200);
  });

  it('takes the key from where OpenAI’s, Anthropic’s and Azure’s clients send it, the first of them', async () => {
    const status = async (headers: Record<string, string>): Promise<number> =>
      (await fetch(`${coordinator.url}/models`, { headers })).status;
    const [good, bad] = ['key-of-ann', 'key-of-nobody'];
    expect(await status({ 'x-api-key': good })).toBe(200);
    expect(await status({ 'api-key': good })).toBe(200);
    expect(await status({ authorization: `Bearer ${good}`, 'x-api-key': bad, 'api-key': bad })).toBe(200);
    expect(await status({ authorization: `Bearer ${bad}`, 'x-api-key': good })).toBe(401);
    expect(await status({ 'x-api-key': bad, 'api-key': good })).toBe(401);
    // A proxy's own password is no key.
    expect(await status({ authorization: 'Basic a2V5', 'x-api-key': good })).toBe(200);
    expect(await status({ 'x-api-key': '', 'api-key': '' })).toBe(401);
    expect((await fetch(`${coordinator.url}/metrics`, { headers: { 'x-api-key': 'token-of-otto' } })).status).toBe(401);
  });

  it('limits requests a minute: 429 with Retry-After', async () => {
    const error = await thrown(
      (async () => {
        for (let request = 0; request < 3; request++) await client('key-of-bob').completions.create(story);
      })(),
    );
    expect(error).toMatchObject({ status: 429, code: 'rate_limit_exceeded', type: 'rate_limit_error' });
    expect(Number(error.headers?.get('retry-after'))).toBeGreaterThan(0);
    expect(error.headers?.get('x-ratelimit-remaining-requests')).toBe('0');
  });

  it('limits tokens a minute, those of streams too', async () => {
    const stream = await client('key-of-dora').completions.create({ ...story, max_tokens: 60, stream: true });
    for await (const _ of stream);
    const error = await thrown(client('key-of-dora').completions.create(story));
    expect(error).toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
    expect(error.message).toContain('40 tokens per minute');
    expect(error.headers?.get('x-ratelimit-limit-tokens')).toBe('40');
  });

  it('limits answers at a time, and has the place back when one is broken off', async () => {
    const cleo = client('key-of-cleo');
    const first = await cleo.completions.create({ ...story, max_tokens: 400, stream: true });
    expect(await thrown(cleo.completions.create(story))).toMatchObject({ status: 429 });
    const tooMany = await thrown(cleo.completions.create({ ...story, n: 2 }));
    expect(tooMany.headers?.get('x-should-retry')).toBe('false');
    first.controller.abort();
    await expect
      .poll(
        () =>
          cleo.completions.create(story).then(
            (answer) => answer.choices.length,
            () => 0,
          ),
        { timeout: 90_000 },
      )
      .toBe(1);
  });

  it('counts by the keys’ names, and never says a key', async () => {
    const metrics = await guarded.metricsText();
    expect(metrics).toMatch(/shoal_api_requests_total\{key="bob",outcome="limited"\} [1-9]/);
    expect(metrics).toMatch(/shoal_api_tokens_total\{key="dora",kind="completion"\} [1-9]/);
    expect(metrics).not.toContain('key-of-');
    for (const wait of ['queue_wait', 'time_to_first_token', 'inter_token'])
      expect(metrics).toMatch(new RegExp(`shoal_${wait}_seconds_count [1-9]`));
    expect(metrics).toContain('shoal_requests_refused_total{reason="queue-full"} 0');
  });

  const fakeServer = (access: Access) =>
    startServer(
      { script: () => ({ ids: [97] }) },
      {
        access: {
          keys: new ApiKeys(access),
          takeShardBytes: () => 0,
          refuseMetrics: () => undefined,
          refuseOperator: () => undefined,
          addressOf: () => '203.0.113.7',
        },
      },
    );

  it('is shared fairly by keys, or by addresses where no keys are asked for', async () => {
    const seen: (string | undefined)[] = [];
    for (const access of [new Access({ file: guarded.path }), new Access({})]) {
      const server = await fakeServer(access);
      try {
        const ask = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'key-of-ann', maxRetries: 0 });
        await ask.completions.create({ model: 'fake-model', prompt: 'A', max_tokens: 1 });
        seen.push(...server.generation.submitted.map(({ client: name }) => name));
      } finally {
        await server.app.close();
      }
    }
    expect(seen).toEqual(['key ann', 'address 203.0.113.7']);
  });

  it('starts no answer from the prompt of another key, a key of the same name, another address or another page', async () => {
    const prompt = 'Once upon a time there was a little girl who lived near a forest. '.repeat(4);
    /** Positions of the prompt that were not computed again. */
    const reusedBy = async (key: string, address: string, more = {}, headers = {}): Promise<number> => {
      const before = coordinator.scheduler.prefix.reused;
      const defaultHeaders = { 'x-forwarded-for': address, ...headers };
      const ask = new OpenAI({ baseURL: `${coordinator.url}/v1`, apiKey: key, defaultHeaders, maxRetries: 0 });
      await ask.completions.create({ ...story, prompt, ...more });
      return coordinator.scheduler.prefix.reused - before;
    };
    const reload = (rules: object): void => {
      guarded.write(rules);
      coordinator.access.reload();
    };
    const withToken = (token: string) => ({ ...RULES, apiKeys: [entry('ann', token), entry('eve', 'key-of-eve')] });
    try {
      reload(withToken('key-of-ann'));
      expect(await reusedBy('key-of-ann', '203.0.113.1')).toBe(0);
      const whole = await reusedBy('key-of-ann', '203.0.113.2');
      expect(whole).toBeGreaterThan(0);
      expect(await reusedBy('key-of-eve', '203.0.113.1')).toBe(0);
      // Every choice of a request.
      expect(await reusedBy('key-of-eve', '203.0.113.1', { n: 2 })).toBe(2 * whole);
      reload(withToken('another-key'));
      expect(await reusedBy('another-key', '203.0.113.1')).toBe(0);

      // Drafts are made from the answers of one key, which go with it.
      const { speculation } = coordinator.scheduler;
      expect(speculation.answersBytes).toBeGreaterThan(0);
      reload({ ...RULES, apiKeys: undefined });
      expect(speculation.answersBytes).toBe(0);
      expect(await reusedBy('-', '203.0.113.1')).toBe(0);
      expect(await reusedBy('-', '203.0.113.1')).toBe(whole);
      expect(await reusedBy('-', '203.0.113.2')).toBe(0);
      expect(await reusedBy('-', '2001:db8::1')).toBe(0);
      expect(await reusedBy('-', '2001:db8::2')).toBe(whole);
      expect(await reusedBy('-', '2001:db9::1')).toBe(0);
      // Web pages that the same person has open, the coordinator's own among them.
      for (const origin of ['https://site.example', 'null', coordinator.url]) {
        expect(await reusedBy('-', '203.0.113.1', {}, { origin }), origin).toBe(0);
        expect(await reusedBy('-', '203.0.113.1', {}, { origin }), origin).toBe(whole);
      }
      expect(await reusedBy('-', '203.0.113.1')).toBe(whole);
    } finally {
      reload(RULES);
    }
  });

  it('logs the name alone', async () => {
    const server = await fakeServer(new Access({ file: guarded.path }));
    try {
      const headers = { authorization: 'Bearer key-of-ann' };
      await (await fetch(`${server.url}/v1/models`, { headers })).text();
      await until('the line of the log', () => server.logged.some((line) => line.includes('answered')));
      expect(server.logged.join('')).toContain('"apiKey":"ann"');
      expect(server.logged.join('')).not.toContain('key-of-ann');
    } finally {
      await server.app.close();
    }
  });
});

it('sends an address so many bytes of weights an hour, and then tells it to wait', async () => {
  const [layer] = moeLayers(coordinator.config);
  const fetchShard = (expert: number, from: string) =>
    fetch(`${coordinator.url}/shards/${shardHash(coordinator.packed.manifest, layer!, expert)}`, {
      headers: { 'x-forwarded-for': from },
    });
  for (const expert of [0, 1]) {
    const shard = await fetchShard(expert, '10.1.0.1');
    expect((await shard.arrayBuffer()).byteLength).toBe(guarded.shardBytes);
  }
  const refused = await fetchShard(2, '10.1.0.1');
  expect(refused.status).toBe(429);
  // Two an hour, so the next in half an hour.
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(1700);
  expect((await refused.json()) as object).toMatchObject({ error: { code: 'rate_limit_exceeded' } });
  expect((await fetchShard(2, '10.1.0.2')).status).toBe(200);
});

it('counts refused keys and shards', async () => {
  const metrics = await guarded.metricsText();
  for (const what of ['api-key', 'shard'])
    expect(metrics).toMatch(new RegExp(`shoal_access_refusals_total\\{what="${what}"\\} [1-9]`));
});
