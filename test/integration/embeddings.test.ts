import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI, { APIError } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { accessFixture, entry } from '../../coordinator/src/access/testing/fixtures.ts';
import { type Coordinator, defaultConfig, startCoordinator } from '../../coordinator/src/index.ts';
import { type Encoder, ENCODER_DIR, openEncoder } from '../golden/encoders.ts';
import { covered, until, VirtualDonor } from './virtual-donor.ts';

const model = 'nomic-bert-moe';
const MAX_TOKENS = 100;

let encoder: Encoder;
let cacheDir: string;
let coordinator: Coordinator;
let client: OpenAI;
const donors: VirtualDonor[] = [];
beforeAll(async () => {
  encoder = await openEncoder();
  cacheDir = await mkdtemp(join(tmpdir(), 'shoal-embeddings-'));
  const { path: accessFile, write } = accessFixture();
  write({ apiKeys: [entry('ann', 'key-of-ann'), entry('dora', 'key-of-dora', { tokensPerMinute: 40 })] });
  const options = { model: ENCODER_DIR, cacheDir, replicas: 1, port: 0, accessFile, logLevel: 'silent' } as const;
  coordinator = await startCoordinator(defaultConfig(options));
  client = clientWith('key-of-ann');
  donors.push(...(await Promise.all([VirtualDonor.join(coordinator), VirtualDonor.join(coordinator)])));
  await until('all experts to be served', () => covered(coordinator));
});
afterAll(async () => {
  await coordinator.close();
  await Promise.all(donors.map((donor) => donor.close()));
  await encoder.checkpoint.close();
  await rm(cacheDir, { recursive: true });
});

const clientWith = (apiKey: string) => new OpenAI({ baseURL: `${coordinator.url}/v1`, apiKey, maxRetries: 0 });

/** [texts, size] of the reference, of one text. */
const referenceOf = (i: number, size = encoder.config.hiddenSize): Float32Array =>
  (size === encoder.dimensions ? encoder.short : encoder.embeddings).subarray(i * size, (i + 1) * size);

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const dot = (x: ArrayLike<number>, y: ArrayLike<number>) => Array.from(x).reduce((sum, v, i) => sum + v * y[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

async function failure(promise: Promise<unknown>): Promise<APIError> {
  const outcome = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (outcome instanceof APIError) return outcome;
  throw new Error(`not an APIError: ${String(outcome)}`);
}

const cosines = (data: readonly { embedding: number[] }[], size?: number) =>
  data.map(({ embedding }, i) => cosine(embedding, referenceOf(i, size)));

describe('an encoder, packed and served by peers', () => {
  it('computes every expert in a tab', async () => {
    // Few rows, since untried tabs may not be far ahead of their audits.
    const { data } = await client.embeddings.create({ model, input: encoder.texts[2]! });
    expect(cosine(data[0]!.embedding, referenceOf(2))).toBeGreaterThanOrEqual(0.9999);
    const { figures } = coordinator.dispatcher;
    expect(figures.fallbackAssignments).toBe(0);
    const layers = encoder.config.layerKinds.filter((kind) => kind === 'moe').length;
    expect(figures.tabAssignments).toBe(encoder.sequences[2]!.length * encoder.config.numExpertsPerTok * layers);
  });

  it('embeds as the reference does, as numbers and as Base64', async () => {
    const input = [...encoder.texts];
    // The client asks for Base64 by itself.
    const { data, usage, model: named } = await client.embeddings.create({ model, input });
    expect(named).toBe(model);
    expect(data.map(({ index }) => index)).toEqual(input.map((_, i) => i));
    expect(Math.min(...cosines(data))).toBeGreaterThanOrEqual(0.9999);
    for (const { embedding } of data) expect(Math.hypot(...embedding)).toBeCloseTo(1, 5);
    const tokens = encoder.sequences.reduce((sum, { length }) => sum + length, 0);
    expect(usage).toEqual({ prompt_tokens: tokens, total_tokens: tokens });
    const numbers = await client.embeddings.create({ model, input, encoding_format: 'float' });
    expect(Math.min(...cosines(numbers.data))).toBeGreaterThanOrEqual(0.9999);
  });

  it('takes one text, token ids and fewer dimensions', async () => {
    const { dimensions } = encoder;
    const one = await client.embeddings.create({ model, input: encoder.texts[0]!, dimensions });
    expect(one.data.map(({ embedding }) => embedding.length)).toEqual([dimensions]);
    expect(Math.min(...cosines(one.data, dimensions))).toBeGreaterThanOrEqual(0.9999);
    const ids = await client.embeddings.create({ model, input: encoder.sequences, dimensions });
    expect(Math.min(...cosines(ids.data, dimensions))).toBeGreaterThanOrEqual(0.9999);
    const single = await client.embeddings.create({ model, input: encoder.sequences[0]! });
    expect(Math.min(...cosines(single.data))).toBeGreaterThanOrEqual(0.9999);
    const tokenized = await fetch(`${coordinator.url}/v1/tokenize`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer key-of-ann' },
      body: JSON.stringify({ prompt: encoder.texts[0] }),
    });
    expect(await tokenized.json()).toMatchObject({ tokens: encoder.sequences[0], max_model_len: MAX_TOKENS });
  });

  it('takes 1,000 texts in one request, beside others', async () => {
    const short = encoder.texts[2]!;
    const input = Array.from({ length: 1000 }, () => short);
    const [many, ...others] = await Promise.all([
      client.embeddings.create({ model, input }),
      ...encoder.texts.map((text) => client.embeddings.create({ model, input: text })),
    ]);
    expect(many.data).toHaveLength(1000);
    for (const { embedding } of many.data) expect(cosine(embedding, referenceOf(2))).toBeGreaterThanOrEqual(0.9999);
    expect(Math.min(...cosines(others.flatMap(({ data }) => data)))).toBeGreaterThanOrEqual(0.9999);
    expect(coordinator.encoder!.jobs).toEqual([]);
  });

  const long = 'zyx '.repeat(MAX_TOKENS);
  it.each<[string, object, string, RegExp]>([
    ['a text that is too long', { input: ['a', long] }, 'input[1]', /maximum context length is 100 tokens/],
    ['too many token ids', { input: [[0, 2], Array(101).fill(5)] }, 'input[1]', /'input\[1\]' has 101/],
    ['an empty text', { input: ['a', ''] }, 'input[1]', /empty/],
    ['an empty list', { input: [] }, 'input', /from 1 to 2048/],
    ['more inputs than one request takes', { input: Array(2049).fill('a') }, 'input', /from 1 to 2048/],
    ['ids outside the vocabulary', { input: [[1_000_000]] }, 'input[0]', /no token has the id 1000000/],
    ['more dimensions than there are', { input: 'a', dimensions: 41 }, 'dimensions', /have 40 values/],
    ['another format', { input: 'a', encoding_format: 'int8' }, 'encoding_format', /base64/],
    ['no input', {}, 'input', /Missing/],
  ])('refuses %s, and names it', async (_, body, param, message) => {
    const error = await failure(client.post('/embeddings', { body: { model, ...body } }));
    expect(error.status).toBe(400);
    expect(error.param).toBe(param);
    expect(error.message).toMatch(message);
  });

  it('refuses to make text, and names the remedy', async () => {
    const messages = [{ role: 'user' as const, content: 'Hello' }];
    for (const asked of [
      client.chat.completions.create({ model, messages }),
      client.completions.create({ model, prompt: 'Hello' }),
      client.responses.create({ model, input: 'Hello' }),
    ]) {
      const error = await failure(asked);
      expect(error.status).toBe(400);
      expect(error.message).toMatch(/is an encoder.*\/v1\/embeddings/);
    }
  });

  it('shows what it does in metrics and in the console', async () => {
    const metrics = await (await fetch(`${coordinator.url}/metrics`)).text();
    expect(Number(/^shoal_embeddings_total (\d+)$/m.exec(metrics)?.[1])).toBeGreaterThan(1000);
    const snapshot = coordinator.snapshots.build();
    expect(snapshot.queuedRequests).toBe(0);
    expect(snapshot.requests.filter(({ endedAgoMs }) => endedAgoMs === undefined)).toEqual([]);
    expect(snapshot.requests[0]).toMatchObject({ client: 'key ann', state: 'finished' });
    expect(snapshot.flow.tokensTotal).toBe(coordinator.encoder!.counts.tokens);
  });

  it('counts tokens against the API key, and keeps to its limits', async () => {
    expect((await failure(clientWith('nobody').embeddings.create({ model, input: 'a' }))).status).toBe(401);
    const dora = clientWith('key-of-dora');
    const input = encoder.texts[0]!;
    await dora.embeddings.create({ model, input });
    const limited = await failure(dora.embeddings.create({ model, input }));
    expect(limited).toMatchObject({ status: 429, code: 'rate_limit_exceeded' });
    const metrics = await (await fetch(`${coordinator.url}/metrics`)).text();
    const counted = /^shoal_api_tokens_total\{key="dora",kind="prompt"\} (\d+)$/m.exec(metrics)?.[1];
    expect(Number(counted)).toBe(encoder.sequences[0]!.length);
  });

  it('goes on by itself when the tabs have gone', async () => {
    await Promise.all(donors.splice(0).map((donor) => donor.close()));
    const before = coordinator.dispatcher.figures.fallbackAssignments;
    const { data } = await client.embeddings.create({ model, input: [...encoder.texts] });
    expect(Math.min(...cosines(data))).toBeGreaterThanOrEqual(0.9999);
    expect(coordinator.dispatcher.figures.fallbackAssignments).toBeGreaterThan(before);
  });
});
