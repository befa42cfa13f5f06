import {
  createReferenceEngine,
  type ForwardEngine,
  loadDenseWeights,
  type ModelConfig,
  parseModelConfig,
} from '@shoal/model';
import { noExperts } from '@shoal/model/testing';
import { afterEach, describe, expect, it } from 'vitest';
import { nmse } from '../../testing/numbers.ts';
import { experts, gqa, reader } from '../testing/small-model.ts';
import type { WasmEngine } from '../wasm-engine.ts';
import { openWasmEngine } from './open.ts';

const dense = (layers: number): ModelConfig =>
  parseModelConfig({
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: 53,
    hidden_size: 42,
    intermediate_size: 19,
    num_hidden_layers: layers,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    head_dim: 10,
    rope_theta: 100,
    max_position_embeddings: 200,
    rms_norm_eps: 1e-5,
    hidden_act: 'silu',
    bos_token_id: 0,
    eos_token_id: 0,
  });

const open: ForwardEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0).toReversed()) await engine.close();
});

async function engineOf(
  config: ModelConfig,
  options: { threads?: number; beside?: WasmEngine; bankBytes?: number },
): Promise<WasmEngine> {
  const engine = await openWasmEngine({ config, weights: { reader, format: 'f16' }, kvBytes: 4 << 20, ...options });
  open.push(engine);
  return engine;
}

/** Logits of all positions of a new sequence, read in parts. */
async function logitsOf(engine: ForwardEngine, seed: number, dispatch = noExperts): Promise<number[]> {
  const ids = Array.from({ length: 40 }, (_, i) => (i * 7 + seed) % 53);
  const cache = engine.newSequence();
  const all: number[] = [];
  for (const [from, to] of [
    [0, 33],
    [33, 34],
    [34, 40],
  ] as const) {
    const rows = ids.slice(from, to).map((tokenId, i) => ({ tokenId, position: from + i, cache, wantLogits: true }));
    const { logits } = await engine.forward(rows, dispatch);
    all.push(...logits.flatMap((row) => [...row!]));
  }
  cache.free();
  return all;
}

describe('a dense model on the wasm engine', () => {
  it('of more layers than a program has room for computes what the reference computes', async () => {
    // 40 layers of 13 operations, and a program has 512.
    const config = dense(40);
    const expected = await logitsOf(
      createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) }),
      1,
    );
    expect(nmse(await logitsOf(await engineOf(config, { threads: 2 }), 1), expected)).toBeLessThan(1e-5);
  });
});

describe.each([0, 2])('engines that share %i threads', (threads) => {
  it('compute at the same time what each computes alone', async () => {
    const [first, second, third] = [gqa, dense(3), dense(2)];
    const alone = [
      await logitsOf(await engineOf(first, { threads }), 1, experts),
      await logitsOf(await engineOf(second, { threads }), 2),
      await logitsOf(await engineOf(third, { threads }), 3),
    ];
    const main = await engineOf(first, { threads });
    // In memories of several banks each, whose numbers must not be mixed up.
    const other = await engineOf(second, { beside: main, bankBytes: 3.5 * 2 ** 20 });
    expect([other.threads, other.memory.banks.length]).toEqual([main.threads, 2]);
    const [one, two] = await Promise.all([logitsOf(main, 1, experts), logitsOf(other, 2)]);
    // Opened while the threads have work.
    const [again, last] = await Promise.all([
      logitsOf(other, 2),
      engineOf(third, { beside: other }).then((engine) => logitsOf(engine, 3)),
    ]);
    expect([one, two, last]).toEqual(alone);
    expect(again).toEqual(two);
  });

  it('go on when one that was opened later is closed', async () => {
    const main = await engineOf(gqa, { threads });
    const before = await logitsOf(main, 1, experts);
    const other = await openWasmEngine({ config: dense(2), weights: { reader, format: 'f16' }, beside: main });
    await logitsOf(other, 2);
    await other.close();
    expect(await logitsOf(main, 1, experts)).toEqual(before);
  });
});
