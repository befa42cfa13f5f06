import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseModelConfig } from '@shoal/model';
import { denseLayout } from '@shoal/weights';
import { expect, it } from 'vitest';
import { DenseMemory } from './dense-memory.ts';

const published = join(import.meta.dirname, '../../../model/src/testing/published-configs');
/** Of the coordinator's 300 MB beside 1.2 × (weights + KV), what the engine may have; the rest is for Node.js and requests. */
const WORK_BYTES = 110e6;
/** 64 streams of 4096 tokens and 64 more rows; for each of the head's 16 rows 4096 tokens are penalised. */
const ROOM = { rows: 64 + 64, tableWords: (64 * 4096) / 16, listWords: 16 * 4096 * 2, ranks: 0 };

// As allocated, and never written: it costs address space only. The whole coordinator is measured by `npm run bench engine`.
it.each(['DeepSeek-V2-Lite', 'Qwen3-30B-A3B'])('%s takes 110 MB at most beside its weights and cache', (name) => {
  const config = parseModelConfig(JSON.parse(readFileSync(join(published, `${name}.json`), 'utf8')));
  const options = { kvBytes: 2 ** 28, threads: 16, shared: true };
  const memory = new DenseMemory(config, denseLayout(config, 'q8'), options);
  // Two half-batches, of which one may have the whole batch.
  for (let pass = 0; pass < 2; pass++) memory.lendWorkspaces(ROOM);
  const allocated = memory.banks.reduce((sum, bank) => sum + bank.memory.buffer.byteLength, 0);
  const held = memory.weightBytes + memory.pool.budgetBytes;
  expect(allocated).toBeGreaterThan(held);
  expect(allocated).toBeLessThanOrEqual(held + WORK_BYTES);
});

it('holds an embedding and a head that one bank does not, as Kimi-K2 has them in f16', () => {
  const json = JSON.parse(readFileSync(join(published, 'DeepSeek-V3.json'), 'utf8')) as object;
  const config = parseModelConfig({ ...json, vocab_size: 163_840, num_hidden_layers: 4 });
  const memory = new DenseMemory(config, denseLayout(config, 'f16'), { kvBytes: 2 ** 20, threads: 1, shared: true });
  expect(memory.bankOf('head')).not.toBe(memory.bankOf('embed'));
});
