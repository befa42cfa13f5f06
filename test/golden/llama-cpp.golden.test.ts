import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { argmax, forward, KvCache } from '@shoal/model';
import { exportGguf } from '@shoal/weights/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LlamaCpp, openLlamaCpp } from '../llama/llama-cpp.ts';
import { goldenCases, openTinyStories, type TinyStories } from './tiny-stories.ts';

// An independent check of the whole model: llama.cpp loads what `shoal export-gguf` writes of it, in float32.

let dir: string;
let tiny: TinyStories;
let llama: LlamaCpp;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-gguf-'));
  tiny = await openTinyStories();
  const out = join(dir, 'tiny-stories.gguf');
  await exportGguf({ modelDir: tiny.checkpoint.dir, out, type: 'f32' });
  llama = await openLlamaCpp(out, { contextSize: 512, threads: 2 });
});

afterAll(async () => {
  await llama?.close();
  await tiny?.checkpoint.close();
  await rm(dir, { recursive: true, force: true });
});

async function ourLogits(ids: readonly number[]): Promise<Float32Array[]> {
  const cache = new KvCache(tiny.model.config);
  const rows = ids.map((tokenId, position) => ({ tokenId, position, cache, wantLogits: true }));
  const { logits } = await forward(tiny.model, rows, tiny.experts);
  return logits.map((row) => row!);
}

function softmax(logits: Float32Array): Float64Array {
  const top = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const weights = Float64Array.from(logits, (logit) => Math.exp(logit - top));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

/** Σ p ln(p / q), in nats: p from our logits, q theirs. */
function divergence(ours: Float32Array, theirs: Float32Array): number {
  return softmax(ours).reduce((sum, value, i) => {
    // Theirs are float32, at least 1e-45.
    return value < 1e-30 ? sum : sum + value * Math.log(value / theirs[i]!);
  }, 0);
}

describe('the default model in llama.cpp', () => {
  it.each(goldenCases)('"$prompt": the same distribution of the next token at every position', async (golden) => {
    const ids = [...golden.prompt_ids, ...golden.greedy_ids];
    const [ours, theirs] = [await ourLogits(ids), await llama.probabilities(ids)];
    const worst = Math.max(...ours.map((row, i) => divergence(row, theirs[i]!)));
    // Its cache holds f16, ours float32; the largest value seen is 1.1e-5.
    expect(worst).toBeLessThan(5e-5);
    for (const [i, margin] of golden.margin_to_second.entries()) {
      const at = golden.prompt_ids.length - 1 + i;
      if (margin > 0.02) expect(argmax(theirs[at]!)).toBe(golden.greedy_ids[i]);
    }
  });

  it('splits text into the same ids', () => {
    for (const { prompt, greedy_text: text } of goldenCases) {
      expect(llama.tokenize(prompt + text)).toEqual(tiny.tokenizer.encode(prompt + text));
    }
  });
});
