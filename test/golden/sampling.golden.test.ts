import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { changeLogits, type LogitChanges, sample } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { TokenCounts } from '../../coordinator/src/scheduler/token-counts.ts';
import { QueryBench } from '../../packages/kernels/src/dense/testing/query-bench.ts';

interface SamplingCase {
  name: string;
  parameters: {
    bias: Record<string, number>;
    repetition: number;
    frequency: number;
    presence: number;
    temperature: number;
    minP: number;
    topK: number;
    topP: number;
  };
  prompt: number[];
  answer: number[];
  logits: number[];
  changed: number[];
  probabilities: number[];
}

/** By transformers' logits processors, and OpenAI's formula for the penalties that transformers lacks. */
const cases = JSON.parse(readFileSync(join(import.meta.dirname, 'fixtures/sampling.json'), 'utf8')) as SamplingCase[];

/** Draws with equally spaced numbers, so that a token's share of them is its probability up to two of them. */
const DRAWS = 4096;

function changesOf({ parameters, prompt, answer }: SamplingCase): LogitChanges {
  const { bias, repetition, frequency, presence } = parameters;
  const counts = new TokenCounts(prompt);
  for (const tokenId of answer.slice(0, -2)) counts.add(tokenId);
  const biases = new Map(Object.entries(bias).map(([tokenId, value]) => [Number(tokenId), value]));
  // The last two as if they were drafts.
  return { biases, penalties: { repetition, frequency, presence, seen: counts.with(answer.slice(-2)) } };
}

function sharesOf(vocab: number, draw: (uniform: number) => number): number[] {
  const shares = Array.from({ length: vocab }, () => 0);
  for (let i = 0; i < DRAWS; i++) shares[draw((i + 0.5) / DRAWS)]! += 1 / DRAWS;
  return shares;
}

describe('sampling parameters', () => {
  it('are covered', () => {
    expect(cases.map(({ name }) => name)).toContain('everything');
    expect(cases.every(({ logits }) => logits.length % 32 > 0)).toBe(true);
  });

  describe.each(cases)('$name', (each) => {
    const logits = Float32Array.from(each.logits);
    const changes = changesOf(each);
    const { temperature, minP, topK, topP } = each.parameters;
    const bench = new QueryBench(logits, 200);

    it('change logits as transformers and vLLM do, to 1e-6, in both engines', () => {
      bench.draw({ temperature: 0, topP: 1, uniform: 0, changes });
      for (const changed of [changeLogits(logits, changes, undefined), bench.changed]) {
        expect(changed).toHaveLength(each.changed.length);
        for (const [i, value] of changed.entries()) {
          expect(Math.abs(value - each.changed[i]!)).toBeLessThanOrEqual(1e-6 * Math.max(1, Math.abs(value)));
        }
      }
    });

    it('give tokens the probabilities that they give, in both engines', () => {
      const token = { temperature, minP, topK, topP, changes };
      for (const draw of [
        (uniform: number) => sample(logits, { ...token, rng: () => uniform }),
        (uniform: number) => bench.draw({ ...token, uniform }),
      ]) {
        for (const [i, share] of sharesOf(logits.length, draw).entries()) {
          expect(Math.abs(share - each.probabilities[i]!)).toBeLessThan(2 / DRAWS);
          if (each.probabilities[i] === 0) expect(share).toBe(0);
        }
      }
    });
  });
});
