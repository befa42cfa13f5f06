import { argmax, scorePerplexity, TensorSpec } from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  denseFixtures,
  familyFixtures,
  fixtureDir,
  inChunks,
  mtpFixtures,
  openFamily,
  ragged,
  runFamily,
  runMtp,
  type Family,
  type FamilyRun,
} from './families.ts';
import { nmse } from './tiny-stories.ts';

/** Index of the first value that differs, or −1. A diff of whole tensors would be too long to read. */
function firstDifference(a: Float32Array, b: Float32Array): number {
  expect(a).toHaveLength(b.length);
  return a.findIndex((value, i) => !Object.is(value, b[i]));
}

/** More rows than any sequence has. */
const WHOLE = 128;

describe.each(familyFixtures)('%s', (name) => {
  let family: Family;
  let prefilled: FamilyRun;
  beforeAll(async () => {
    family = await openFamily(name);
    prefilled = await runFamily(family, inChunks(family, WHOLE));
  });

  it('has the reference’s logits at every position (NMSE ≤ 1e-8)', () => {
    const { vocabSize } = family.config;
    expect(nmse(prefilled.logits, family.logits)).toBeLessThanOrEqual(1e-8);
    // Each position separately too, so that the others hide no late one.
    for (let at = 0; at < family.logits.length; at += vocabSize) {
      const row = (logits: Float32Array) => logits.subarray(at, at + vocabSize);
      expect(nmse(row(prefilled.logits), row(family.logits))).toBeLessThanOrEqual(1e-8);
    }
  });

  if (!denseFixtures.includes(name))
    it('chooses the reference’s experts in every layer, with its weights', () => {
      expect(firstDifference(prefilled.chosen, family.chosen)).toBe(-1);
      expect(nmse(prefilled.weights, family.weights)).toBeLessThanOrEqual(1e-9);
    });

  it.each<[string, (family: Family) => ReturnType<typeof inChunks>]>([
    ['decoded one by one', (family) => inChunks(family, 1)],
    ['prefilled in chunks of 7', (family) => inChunks(family, 7)],
    ['batched with sequences of other lengths', ragged],
  ])('has the same bits where tokens are %s', async (_, schedule) => {
    const run = await runFamily(family, schedule(family));
    expect(firstDifference(run.logits, prefilled.logits)).toBe(-1);
    expect(firstDifference(run.chosen, prefilled.chosen)).toBe(-1);
    expect(firstDifference(run.weights, prefilled.weights)).toBe(-1);
  });

  it('continues prompts greedily with the reference’s ids', async () => {
    const { engine, experts, reference } = family;
    for (const { prompt_ids: prompt, ids } of reference.greedy) {
      const cache = engine.newSequence();
      const row = (tokenId: number, i: number) => ({ tokenId, position: i, cache, wantLogits: true });
      let { logits } = await engine.forward(prompt.map(row), experts);
      const answer: number[] = [];
      while (answer.length < ids.length) {
        answer.push(argmax(logits.at(-1)!));
        ({ logits } = await engine.forward([row(answer.at(-1)!, cache.length)], experts));
      }
      expect(answer).toEqual(ids);
    }
  });

  it('has the reference’s perplexity', async () => {
    const { engine, experts, tokenizer, reference } = family;
    const score = await scorePerplexity(engine, tokenizer, reference.perplexity.text, experts);
    expect(score.tokens).toBe(reference.perplexity.tokens);
    expect(score.nll / reference.perplexity.nll).toBeCloseTo(1, 5);
  });
});

describe.each(mtpFixtures)('the MTP module of %s', (name) => {
  it('has the reference’s logits at every position (NMSE ≤ 1e-8)', async () => {
    const family = await openFamily(name);
    const { vocabSize } = family.config;
    const logits = await runMtp(family, family.engine);
    for (let at = 0; at < logits.length; at += vocabSize) {
      const row = (all: Float32Array) => all.subarray(at, at + vocabSize);
      expect(nmse(row(logits), row(family.mtpLogits!))).toBeLessThanOrEqual(1e-8);
    }
  });
});

describe('the fixtures', () => {
  it('hold what they are for', async () => {
    expect(familyFixtures).toHaveLength(29);
    const v3 = await openCheckpoint(fixtureDir('deepseek-v3'));
    const moe = v3.config.layerKinds.indexOf('moe');
    const bias = await v3.read(
      new TensorSpec(`model.layers.${moe}.mlp.gate.e_score_correction_bias`, [v3.config.nRoutedExperts]),
    );
    await v3.close();
    // Sigmoids are below 1, so that every biased score is negative.
    expect(Math.max(...bias)).toBeLessThan(-1);
    const yarn = await openFamily('deepseek-v2-grouped');
    expect(yarn.config.rope.attentionFactor).not.toBe(1);
    expect(yarn.reference.sequences.every((ids) => ids.length > 2 * 32)).toBe(true);
  });
});
