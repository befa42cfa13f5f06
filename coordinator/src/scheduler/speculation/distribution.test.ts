import { createRng, sample } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { Draws } from './draws.ts';
import { chain, type DraftTree } from './draft-tree.ts';
import { verifyDrafts } from './verify.ts';

/**
 * A language of four tokens in which the next one depends on the last. `MODEL` has the true logits, `DRAFTER` those of
 * a drafter that is wrong, more or less by token.
 */
const MODEL = [
  [1.2, 0.3, -0.5, 0],
  [0, 1.5, 0.2, -1],
  [-0.3, 0.1, 0.9, 0.8],
  [0.6, -0.8, 0.4, 1],
].map((row) => Float32Array.from(row));
const DRAFTER = [
  [1, 0.6, -0.2, 0.1],
  [0.2, 1.2, 0.6, -0.5],
  [-1, 0.4, 1.3, 0.2],
  [-0.8, 1, 0.9, 0.1],
].map((row) => Float32Array.from(row));

/**
 * Transitions counted, and the value that χ² (4 states × 3 degrees of freedom) exceeds once in 10,000 correct tests.
 * Against a distribution with Σ (p′ − p)² / p = 0.00104, as when 0.0145 of probability moves between two tokens
 * of 0.4 each, the noncentrality is 62 and the power 0.99.
 */
const N = 60_000;
const CRITICAL = 39.13;

const TEMPERATURE = 0.8;
const softmax = (logits: Float32Array): number[] => {
  const weights = Array.from(logits, (value) => Math.exp(value / TEMPERATURE));
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / sum);
};

type Draft = (after: number, ahead: number, draws: Draws, noise: () => number) => number;

const draft: Record<string, Draft> = {
  'drawn with the numbers to come': (after, ahead, draws) =>
    sample(DRAFTER[after]!, { temperature: TEMPERATURE, topP: 1, rng: () => draws.peek(ahead) }),
  'drawn with numbers of their own': (after, _, __, noise) =>
    sample(DRAFTER[after]!, { temperature: TEMPERATURE, topP: 1, rng: noise }),
  'the likeliest': (after) => sample(DRAFTER[after]!, { temperature: 0, topP: 1, rng: () => 0 }),
  'the likeliest of the model itself': (after) => sample(MODEL[after]!, { temperature: 0, topP: 1, rng: () => 0 }),
};

/** The drafts, and beside each another one. */
function branched(drafts: readonly number[]): DraftTree {
  const { parents } = chain(drafts);
  return {
    tokens: [...drafts, ...drafts.map((draft) => (draft + 1) % MODEL.length)],
    parents: [...parents, ...parents],
  };
}

/** A text of N transitions with three drafts a pass, and the share of first drafts that were right. */
function write(
  by: Draft,
  seed: number,
  shape: (drafts: readonly number[]) => DraftTree = chain,
): { text: number[]; right: number } {
  const draws = new Draws(createRng(seed));
  const noise = createRng(seed + 1);
  const text = [0];
  let [passes, right] = [0, 0];
  while (text.length <= N) {
    const drafts: number[] = [];
    for (let ahead = 0; ahead < 3; ahead++) drafts.push(by(drafts.at(-1) ?? text.at(-1)!, ahead, draws, noise));
    const accepted = verifyDrafts(shape(drafts), () => {
      const rng = (): number => draws.next();
      text.push(sample(MODEL[text.at(-1)!]!, { temperature: TEMPERATURE, topP: 1, rng }));
      return text.at(-1);
    });
    passes++;
    if (accepted.length > 0) right++;
  }
  return { text, right: right / passes };
}

/** Σ over states of Pearson's χ² of the transitions from it. */
function chiSquare(text: readonly number[]): number {
  const counts = MODEL.map(() => [0, 0, 0, 0]);
  for (let i = 1; i < text.length; i++) counts[text[i - 1]!]![text[i]!]!++;
  let sum = 0;
  for (const [state, row] of counts.entries()) {
    const total = row.reduce((a, b) => a + b);
    for (const [token, p] of softmax(MODEL[state]!).entries()) sum += (row[token]! - total * p) ** 2 / (total * p);
  }
  return sum;
}

describe('sampled tokens', () => {
  it.each(Object.keys(draft))('have the model’s distribution, whatever was drafted: %s', (name) => {
    expect(chiSquare(write(draft[name]!, 11).text)).toBeLessThan(CRITICAL);
    expect(chiSquare(write(draft[name]!, 11, branched).text)).toBeLessThan(CRITICAL);
  });

  it.each(Object.keys(draft))('are those of the seed without drafts: %s', (name) => {
    const rng = createRng(12);
    const plain = [0];
    while (plain.length < 500) plain.push(sample(MODEL[plain.at(-1)!]!, { temperature: TEMPERATURE, topP: 1, rng }));
    for (const shape of [chain, branched]) expect(write(draft[name]!, 12, shape).text.slice(0, 500)).toEqual(plain);
  });

  it('would show a wrong rule: a refused draft’s token drawn again from all, the draft among them', () => {
    const rng = createRng(13);
    const text = [0];
    while (text.length <= N) {
      const last = text.at(-1)!;
      const guess = sample(DRAFTER[last]!, { temperature: 0, topP: 1, rng });
      const kept = rng() < softmax(MODEL[last]!)[guess]!;
      text.push(kept ? guess : sample(MODEL[last]!, { temperature: TEMPERATURE, topP: 1, rng }));
    }
    expect(chiSquare(text)).toBeGreaterThan(CRITICAL);
  });

  it('agree with drafts far more often when both are drawn with the same numbers', () => {
    const [common, own] = ['drawn with the numbers to come', 'drawn with numbers of their own'].map(
      (name) => write(draft[name]!, 14).right,
    ) as [number, number];
    expect(common).toBeGreaterThan(0.6);
    expect(common).toBeGreaterThan(own + 0.2);
  });
});
