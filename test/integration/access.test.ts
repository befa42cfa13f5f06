import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { moeLayers } from '@shoal/model';
import type { ConsoleRole, Dismissed, HelloReply } from '@shoal/protocol';
import { shardHash } from '@shoal/weights';
import OpenAI from 'openai';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Access } from '../../coordinator/src/access/access.ts';
import { ApiKeys } from '../../coordinator/src/access/api-keys.ts';
import { digestOf } from '../../coordinator/src/access/token.ts';
import { startServer } from '../../coordinator/src/http/testing/harness.ts';
import { type Coordinator } from '../../coordinator/src/index.ts';
import { hello, until } from './virtual-donor.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';

const entry = (name: string, token: string, more: object = {}) => ({
  name,
  sha256: digestOf(token).toString('hex'),
  ...more,
});

const RULES = {
  invites: [entry('class', 'invite-for-class'), entry('pair', 'invite-for-pair', { maxPeers: 2 })],
  apiKeys: [
    entry('ann', 'key-of-ann'),
    entry('bob', 'key-of-bob', { requestsPerMinute: 2 }),
    entry('cleo', 'key-of-cleo', { maxConcurrent: 1 }),
    entry('dora', 'key-of-dora', { tokensPerMinute: 40 }),
  ],
  admins: [entry('vera', 'token-of-vera', { role: 'viewer' }), entry('otto', 'token-of-otto', { role: 'operator' })],
};
const LIMITS = { peersPerAddress: 3, joinsPerMinutePerAddress: 20 };

let path: string;
let coordinator: Coordinator;
let shardBytes: number;
const sockets: Socket[] = [];

async function metricsText(): Promise<string> {
  const headers = { authorization: 'Bearer token-of-vera' };
  return (await fetch(`${coordinator.url}/metrics`, { headers })).text();
}

function write(rules: object): void {
  writeFileSync(
    path,
    JSON.stringify({ ...rules, limits: { ...LIMITS, shardBytesPerHourPerAddress: 2 * shardBytes } }),
    {
      mode: 0o600,
    },
  );
}

beforeAll(async () => {
  path = join(mkdtempSync(join(tmpdir(), 'shoal-access-')), 'access.json');
  shardBytes = 2 ** 20;
  write(RULES);
  coordinator = await startTinyCoordinator({
    replicas: 1,
    accessFile: path,
    // The tests are the proxy, so that they can come from many addresses.
    trustProxy: true,
    drainTimeoutMs: 100,
  });
  ({ shardBytes } = coordinator.packed.manifest);
  write(RULES);
  coordinator.access.reload();
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});
afterAll(() => coordinator?.close());

const client = (apiKey: string) => new OpenAI({ baseURL: `${coordinator.url}/v1`, apiKey, maxRetries: 0 });
const story = { model: 'tiny-stories', prompt: 'Once upon a time', max_tokens: 4, seed: 1 };

/** `outcome` and what openai's client throws; the promise is expected to fail. */
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
    for (const spelling of ['/v1/models', '/v1/models/tiny-stories', '/%76%31/models', '/v1/models?x=/docs']) {
      const response = await fetch(coordinator.url + spelling);
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
    expect((await fetch(`${coordinator.url}/healthz`)).status).toBe(200);
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
    expect(error.message).toContain('40 tokens a minute');
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
        { timeout: 20_000 },
      )
      .toBe(1);
  });

  it('counts by the keys’ names, and never says a key', async () => {
    const metrics = await metricsText();
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
          addressOf: () => '203.0.113.7',
        },
      },
    );

  it('is shared fairly by keys, or by addresses where no keys are asked for', async () => {
    const seen: (string | undefined)[] = [];
    for (const access of [new Access({ file: path }), new Access({})]) {
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

  it('logs the name alone', async () => {
    const server = await fakeServer(new Access({ file: path }));
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
    expect((await shard.arrayBuffer()).byteLength).toBe(shardBytes);
  }
  const refused = await fetchShard(2, '10.1.0.1');
  expect(refused.status).toBe(429);
  // Two an hour, so the next in half an hour.
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(1700);
  expect((await refused.json()) as object).toMatchObject({ error: { code: 'rate_limit_exceeded' } });
  expect((await fetchShard(2, '10.1.0.2')).status).toBe(200);
});

function connect(namespace: 'donor' | 'console', from: string, auth: object = {}): Socket {
  const socket = io(`${coordinator.url}/${namespace}`, {
    auth,
    reconnection: false,
    forceNew: true,
    transports: ['websocket'],
    extraHeaders: { 'x-forwarded-for': from },
  });
  sockets.push(socket);
  return socket;
}

const pledge = 2 ** 26;
const nameOf = (letter: string): string => letter.repeat(32);

async function enter(from: string, donor: string, inviteToken?: string): Promise<HelloReply & { socket: Socket }> {
  const socket = connect('donor', from);
  const message = { ...hello(nameOf(donor), pledge), ...(inviteToken !== undefined && { inviteToken }) };
  const reply = (await socket.timeout(10_000).emitWithAck('hello', message)) as HelloReply;
  return { ...reply, socket };
}

const gone = () => until('all tabs to be gone', () => coordinator.swarm.peers.length === 0);
const dismissal = (socket: Socket): Promise<Dismissed> => new Promise((resolve) => socket.once('dismissed', resolve));

describe('donors', () => {
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.close();
    await gone();
  });

  it('need an invitation, and are told so', async () => {
    for (const [token, words] of [
      [undefined, 'invited donors only'],
      ['invite-for-nobody', 'not, or no longer, known'],
      ['key-of-ann', 'not, or no longer, known'],
    ] as const) {
      expect(await enter('10.2.0.1', 'a', token)).toMatchObject({
        ok: false,
        code: 'invite',
        message: expect.stringContaining(words),
      });
    }
    expect(coordinator.swarm.peers).toHaveLength(0);
    expect(await enter('10.2.0.1', 'a', 'invite-for-class')).toMatchObject({ ok: true });
    expect(coordinator.swarm.peers[0]?.address).toBe('10.2.0.1');
  });

  it('share an invitation for two', async () => {
    await enter('10.2.1.1', 'a', 'invite-for-pair');
    const second = await enter('10.2.1.2', 'b', 'invite-for-pair');
    expect(await enter('10.2.1.3', 'c', 'invite-for-pair')).toMatchObject({ ok: false, code: 'invite' });
    second.socket.emit('intent', { intent: 'leave' });
    await until('the second to leave', () => coordinator.swarm.peers.length === 1);
    expect(await enter('10.2.1.3', 'c', 'invite-for-pair')).toMatchObject({ ok: true });
  });

  it('of one address are limited, and the same donor in a new tab takes no further place', async () => {
    for (const donor of ['a', 'b', 'c'])
      expect(await enter('10.2.2.1', donor, 'invite-for-class')).toMatchObject({ ok: true });
    expect(await enter('10.2.2.1', 'd', 'invite-for-class')).toMatchObject({ ok: false, code: 'limit' });
    expect(await enter('10.2.2.1', 'c', 'invite-for-class')).toMatchObject({ ok: true });
    expect(await enter('10.2.2.2', 'd', 'invite-for-class')).toMatchObject({ ok: true });
  });

  it('of one address join so often a minute, whatever came of it', async () => {
    const codes: string[] = [];
    for (let attempt = 0; attempt < 22; attempt++) {
      const reply = await enter('10.2.3.1', 'a', `guess-number-${attempt}`);
      codes.push(reply.ok ? 'ok' : reply.code);
    }
    expect(codes.filter((code) => code === 'invite').length).toBeGreaterThanOrEqual(LIMITS.joinsPerMinutePerAddress);
    expect(codes).toContain('limit');
  });

  it('whose invitation is withdrawn are sent away, and the others stay', async () => {
    const withdrawn = await enter('10.2.4.1', 'a', 'invite-for-pair');
    await enter('10.2.4.2', 'b', 'invite-for-class');
    const farewell = dismissal(withdrawn.socket);
    write({ ...RULES, invites: RULES.invites.filter(({ name }) => name !== 'pair') });
    try {
      // Without being told: the file is watched.
      expect(await farewell).toMatchObject({ code: 'removed', retry: false });
      expect(coordinator.swarm.peers.map((peer) => peer.address)).toEqual(['10.2.4.2']);
      expect(
        coordinator.events
          .all()
          .map((event) => event.text)
          .join('\n'),
      ).toContain('invites − pair');
    } finally {
      write(RULES);
      coordinator.access.reload();
    }
  });
});

describe('the console', () => {
  const signIn = async (token: string, from = '10.3.0.1') => {
    const socket = connect('console', from, { token });
    const outcome = await new Promise<ConsoleRole | string>((resolve) => {
      socket.once('role', resolve);
      socket.once('connect_error', (error) => resolve(error.message));
    });
    return { socket, outcome };
  };
  const command = (socket: Socket, message: object): Promise<unknown> =>
    socket.timeout(10_000).emitWithAck('command', message);

  it('shows everything to a viewer, and takes commands from an operator alone', async () => {
    const vera = await signIn('token-of-vera');
    expect(vera.outcome).toEqual({ name: 'vera', role: 'viewer' });
    await new Promise((resolve) => vera.socket.once('snapshot', resolve));
    const otto = await signIn('token-of-otto');
    expect(otto.outcome).toEqual({ name: 'otto', role: 'operator' });
    const donor = await enter('10.3.1.1', 'a', 'invite-for-class');
    const farewell = dismissal(donor.socket);
    const remove = { command: 'remove', peerId: coordinator.swarm.peers[0]!.peerId };
    expect(await command(vera.socket, remove)).toMatchObject({ ok: false, message: expect.stringContaining('vera') });
    expect(coordinator.swarm.peers).toHaveLength(1);
    expect(await command(otto.socket, remove)).toEqual({ ok: true });
    expect(await farewell).toMatchObject({ code: 'removed' });
  });

  it('follows a change of the rules: another role, or no way in any more', async () => {
    const vera = await signIn('token-of-vera');
    const otto = await signIn('token-of-otto');
    const role = new Promise((resolve) => vera.socket.once('role', resolve));
    const out = new Promise((resolve) => otto.socket.once('disconnect', resolve));
    try {
      write({ ...RULES, admins: [entry('vera', 'token-of-vera', { role: 'operator' })] });
      coordinator.access.reload();
      expect(await role).toEqual({ name: 'vera', role: 'operator' });
      await out;
      expect((await signIn('token-of-otto')).outcome).toContain('not an admin token');
    } finally {
      write(RULES);
      coordinator.access.reload();
    }
  });

  it('makes an address that guesses wait, and no other', async () => {
    const outcomes: string[] = [];
    for (let guess = 0; guess < 12; guess++)
      outcomes.push(String((await signIn(`guess ${guess}`, '10.3.2.1')).outcome));
    expect(outcomes.at(-1)).toContain('Too many wrong tokens');
    expect((await signIn('token-of-otto', '10.3.2.1')).outcome).toContain('Too many wrong tokens');
    expect((await signIn('token-of-otto', '10.3.2.2')).outcome).toMatchObject({ role: 'operator' });
  });

  it('has no generated token where the file names the admins', () => {
    expect(coordinator.adminToken).toBeUndefined();
  });
});

describe('the metrics', () => {
  const status = async (headers: Record<string, string>): Promise<number> =>
    (await fetch(`${coordinator.url}/metrics`, { headers })).status;
  const bearer = (token: string, from = '10.5.0.1') => ({ authorization: `Bearer ${token}`, 'x-forwarded-for': from });

  it('are for admins of either role, where the file names any', async () => {
    const refused = await fetch(`${coordinator.url}/metrics`);
    expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
    expect(await refused.text()).toContain('a viewer’s or operator’s token');
    expect(await status(bearer('key-of-ann'))).toBe(401);
    for (const token of ['token-of-vera', 'token-of-otto']) expect(await status(bearer(token))).toBe(200);
  });

  it('let nobody guess', async () => {
    for (let guess = 0; guess < 10; guess++) await status(bearer(`guess-${guess}`, '10.5.0.2'));
    expect(await status(bearer('token-of-vera', '10.5.0.2'))).toBe(401);
    expect(await status(bearer('token-of-vera', '10.5.0.3'))).toBe(200);
  });

  it('are open again where the file says so', async () => {
    write({ ...RULES, metrics: 'open' });
    coordinator.access.reload();
    expect(await status({})).toBe(200);
    write(RULES);
    coordinator.access.reload();
    expect(await status({})).toBe(401);
  });
});

it('counts whom it has turned away', async () => {
  const metrics = await metricsText();
  for (const what of ['sign-in', 'invite', 'limit', 'api-key', 'shard']) {
    expect(metrics).toMatch(new RegExp(`shoal_access_refusals_total\\{what="${what}"\\} [1-9]`));
  }
});

it('an address has so many connections at a time, over all namespaces', async () => {
  const open = async (from: string): Promise<number> => {
    const response = await fetch(`${coordinator.url}/socket.io/?EIO=4&transport=polling`, {
      headers: { 'x-forwarded-for': from },
    });
    await response.text();
    return response.status;
  };
  const statuses: number[] = [];
  for (let connection = 0; connection < 70; connection++) statuses.push(await open('10.4.0.1'));
  // One for each of the three tabs that it may have, and 64 beside.
  expect(statuses.filter((status) => status === 200)).toHaveLength(67);
  expect(statuses.at(-1)).toBe(403);
  expect(await open('10.4.0.2')).toBe(200);
});
