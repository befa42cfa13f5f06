import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModelError } from './errors.ts';
import { createRng } from './rng.ts';
import { argmax, logSoftmaxAt, sample, topLogprobs } from './sampler.ts';

const logitsOf = (...probabilities: number[]) => Float32Array.from(probabilities, Math.log);
const always = (value: number) => () => value;

function frequencies(logits: Float32Array, temperature: number, topP: number, draws: number): number[] {
  const rng = createRng(1);
  const counts = Array.from(logits, () => 0);
  for (let i = 0; i < draws; i++) counts[sample(logits, { temperature, topP, rng })]!++;
  return counts.map((count) => count / draws);
}

describe('createRng', () => {
  it('repeats itself for a seed and differs between neighbouring ones', () => {
    const draw = (seed: number) => Array.from({ length: 8 }, createRng(seed));
    expect(draw(5)).toEqual(draw(5));
    expect(draw(5)).not.toEqual(draw(6));
    expect(draw(-1)).not.toEqual(draw(1));
    expect(draw(0)).not.toEqual(draw(2 ** 53));
    expect(draw(1e300)).toHaveLength(8);
  });

  it('is uniform on [0, 1): mean, variance and every sixteenth', () => {
    const rng = createRng(2026);
    const draws = Array.from({ length: 40_000 }, rng);
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...draws)).toBeLessThan(1);
    const mean = draws.reduce((a, b) => a + b) / draws.length;
    expect(mean).toBeCloseTo(0.5, 2);
    expect(draws.reduce((a, b) => a + (b - mean) ** 2, 0) / draws.length).toBeCloseTo(1 / 12, 2);
    const bins = Array.from({ length: 16 }, (_, i) => draws.filter((d) => Math.floor(d * 16) === i).length);
    for (const count of bins) expect(Math.abs(count - 2500)).toBeLessThan(250); // five standard deviations
  });

  it.each([0.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses the seed %d', (seed) => {
    expect(() => createRng(seed)).toThrow(RangeError);
  });
});

describe('sample', () => {
  it('takes the largest at temperature 0, the lower index on a tie, without drawing', () => {
    const rng = () => {
      throw new Error('drawn');
    };
    expect(sample(Float32Array.of(1, 3, 3, 2), { temperature: 0, topP: 0.5, rng })).toBe(1);
  });

  it('follows the distribution', () => {
    const [a, b, c] = frequencies(logitsOf(0.5, 0.3, 0.2), 1, 1, 20_000) as [number, number, number];
    expect(a).toBeCloseTo(0.5, 1.5);
    expect(b).toBeCloseTo(0.3, 1.5);
    expect(c).toBeCloseTo(0.2, 1.5);
  });

  it('sharpens with a low temperature: p ∝ p^(1/T)', () => {
    const [a] = frequencies(logitsOf(0.6, 0.4), 0.5, 1, 20_000) as [number];
    expect(a).toBeCloseTo(0.36 / (0.36 + 0.16), 1.5);
    expect(frequencies(logitsOf(0.6, 0.4), 1e-300, 1, 20)).toEqual([1, 0]);
  });

  it('keeps the fewest tokens that hold top_p, and shares among them', () => {
    const logits = logitsOf(0.1, 0.4, 0.2, 0.3);
    expect(frequencies(logits, 1, 0.39, 200)).toEqual([0, 1, 0, 0]);
    const [first, , third, fourth] = frequencies(logits, 1, 0.6, 20_000) as [number, number, number, number];
    expect([first, third]).toEqual([0, 0]);
    expect(fourth).toBeCloseTo(3 / 7, 1.5);
    expect(frequencies(logits, 1, 0, 50)).toEqual([0, 1, 0, 0]);
    expect(frequencies(logits, 1, 0.95, 5_000).every((f) => f > 0)).toBe(true);
  });

  it('keeps the most probable top_k, of which top_p is then a share', () => {
    const logits = logitsOf(0.1, 0.4, 0.2, 0.3);
    const kept = (topK: number, topP: number) => {
      const rng = createRng(3);
      const seen = new Set(Array.from({ length: 400 }, () => sample(logits, { temperature: 1, topP, topK, rng })));
      return [...seen].sort();
    };
    expect(kept(1, 1)).toEqual([1]);
    expect(kept(2, 1)).toEqual([1, 3]);
    for (const topK of [0, 4, 9]) expect(kept(topK, 1)).toEqual([0, 1, 2, 3]);
    // 0.4 is 0.57 of 0.4 and 0.3, but 0.4 of all.
    expect([kept(2, 0.5), kept(2, 0.6), kept(0, 0.5)]).toEqual([[1], [1, 3], [1, 3]]);
    expect(kept(3, 0.77)).toEqual([1, 3]);
  });

  it('cuts a tie at the lower index', () => {
    const logits = new Float32Array(10);
    for (const u of [0, 0.3, 0.999_999])
      expect(sample(logits, { temperature: 1, topP: 0.15, rng: always(u) })).toBeLessThan(2);
  });

  it('never takes a token of probability 0, at either end of the draw', () => {
    const logits = Float32Array.of(Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY);
    for (const topP of [1, 0.99]) {
      expect(sample(logits, { temperature: 1, topP, rng: always(0) })).toBe(1);
      expect(sample(logits, { temperature: 1, topP, rng: always(1 - 2 ** -53) })).toBe(3);
    }
  });

  it('finds the same nucleus as a full sort', () => {
    const value = fc.float({ min: -8, max: 8, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 1, maxLength: 40 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (values, topP) => {
          const logits = Float32Array.from(values);
          const max = Math.max(...logits);
          const weights = Array.from(logits, (l) => Math.exp(l - max));
          const total = weights.reduce((a, b) => a + b, 0);
          const order = weights.map((_, i) => i).sort((a, b) => weights[b]! - weights[a]! || a - b);
          let mass = 0;
          const nucleus = order.filter((i) => {
            const inside = mass === 0 || mass < topP * total;
            mass += weights[i]!;
            return inside;
          });
          const last = sample(logits, { temperature: 1, topP, rng: always(1 - 2 ** -53) });
          expect(last).toBe(nucleus.at(-1));
          expect(sample(logits, { temperature: 1, topP, rng: always(0) })).toBe(order[0]);
        },
      ),
    );
  });

  it.each([[[1, Number.NaN]], [[Number.NaN, 1]], [[Number.POSITIVE_INFINITY, 1]], [[Number.NEGATIVE_INFINITY]], [[]]])(
    'refuses damaged logits %j',
    (values) => {
      const logits = Float32Array.from(values);
      expect(() => sample(logits, { temperature: 0, topP: 1, rng: always(0) })).toThrow(ModelError);
      expect(() => argmax(logits)).toThrow(/logits/);
    },
  );
});

describe('log-probabilities', () => {
  it('are those of the softmax', () => {
    const logits = Float32Array.of(1000, 1000 + Math.log(3));
    expect(logSoftmaxAt(logits, 0)).toBeCloseTo(Math.log(0.25), 4);
    expect(logSoftmaxAt(Float32Array.of(0, 0, 0, 0), 2)).toBeCloseTo(-Math.log(4), 12);
  });

  it('lists the best, ties at the lower index first, never more than there are', () => {
    const logits = Float32Array.of(1, 4, 2, 4, 3);
    expect(topLogprobs(logits, 3).map(({ tokenId }) => tokenId)).toEqual([1, 3, 4]);
    expect(topLogprobs(logits, 0)).toEqual([]);
    expect(topLogprobs(logits, 9).map(({ tokenId }) => tokenId)).toEqual([1, 3, 4, 2, 0]);
    expect(topLogprobs(logits, 1)[0]!.logprob).toBe(logSoftmaxAt(logits, 1));
  });
});
