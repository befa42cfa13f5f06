import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Coordinator, defaultConfig, startCoordinator } from '../../coordinator/src/index.ts';
import { fixtureDir } from '../golden/families.ts';

let cacheDir: string;
let coordinator: Coordinator;
beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'shoal-token-ids-'));
  // Its vocabulary of 112 has four ids more than its tokenizer.
  const options = { model: fixtureDir('qwen3-moe'), quant: 'f16', cacheDir, port: 0, drainTimeoutMs: 1000 } as const;
  coordinator = await startCoordinator(defaultConfig({ ...options, logLevel: 'silent' }));
});
afterAll(async () => {
  await coordinator.close();
  await rm(cacheDir, { recursive: true });
});

async function post(path: string, body: object): Promise<{ status: number; json: Record<string, unknown> }> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${coordinator.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}

it.each([
  ['a prompt', '/v1/completions', (id: number) => ({ prompt: [5, id] })],
  ['logit_bias', '/v1/completions', (id: number) => ({ prompt: [5], logit_bias: { [id]: 1 } })],
  ['stop_token_ids', '/v1/completions', (id: number) => ({ prompt: [5], stop_token_ids: [id] })],
  ['tokens to detokenize', '/detokenize', (id: number) => ({ tokens: [5, id] })],
])('token ids in %s are taken up to the model’s vocabulary, which it may answer with', async (_, path, body) => {
  const more = path === '/detokenize' ? {} : { max_tokens: 1, temperature: 0 };
  expect(await post(path, { ...body(111), ...more })).toMatchObject({ status: 200 });
  const refused = await post(path, { ...body(112), ...more });
  expect(refused).toMatchObject({ status: 400, json: { error: { message: expect.stringContaining('112') } } });
});
