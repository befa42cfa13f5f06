import { answerQuery, createRng, ModelError } from '@shoal/model';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normal } from '../testing/numbers.ts';
import { expected, isAsGood, QueryBench } from './testing/query-bench.ts';

const shapes: Record<string, (rng: () => number) => number> = {
  flat: (rng) => rng(),
  wide: (rng) => (rng() - 0.5) * 60,
  'a few alike': (rng) => Math.floor(rng() * 4),
  'all alike': () => -3,
  'mostly impossible': (rng) => (rng() < 0.8 ? Number.NEGATIVE_INFINITY : rng() * 5),
};

describe('drawing a token', () => {
  const rows = 40;
  const draws = 500;
  // 5 shapes × 40 rows × 500 draws = 100,000.
  it.each(Object.keys(shapes))('%s logits: as the reference does, up to rounding', (name) => {
    const rng = createRng(name.length);
    let differences = 0;
    for (let r = 0; r < rows; r++) {
      const logits = Float32Array.from({ length: 1 + Math.floor(rng() * 300) }, () => shapes[name]!(rng));
      logits[Math.floor(rng() * logits.length)] = 3;
      const row = new QueryBench(logits);
      for (let d = 0; d < draws; d++) {
        const token = {
          temperature: [0, 0.3, 0.7, 1, 2][d % 5]!,
          topP: d % 3 === 0 ? 1 : rng(),
          topK: d % 4 === 0 ? 1 + Math.floor(rng() * logits.length * 1.2) : 0,
          uniform: rng(),
        };
        const got = row.draw(token);
        if (got === expected(logits, token)) continue;
        differences++;
        expect(isAsGood(logits, token, got), JSON.stringify({ ...token, got })).toBe(true);
      }
      expect(row.isTidy).toBe(true);
    }
    expect(differences).toBeLessThan(5);
  });

  it('takes any logits, cut anyhow', () => {
    const logit = fc.oneof(
      fc.float({ noNaN: true, noDefaultInfinity: true }),
      fc.float({ min: -20, max: 20, noNaN: true }),
      fc.constantFrom(-0, 0, 1, Number.NEGATIVE_INFINITY, -3.4e38, 1e-45),
    );
    const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(logit, { minLength: 1, maxLength: 40 }),
        fc.record({
          temperature: fc.constantFrom(0, 5e-324, 1e-300, 0.01, 1, 2, 1e6),
          topP: fc.oneof(unit, fc.constantFrom(0, 1)),
          topK: fc.nat(50),
          uniform: fc.oneof(unit, fc.constantFrom(0, 1 - 2 ** -53)),
        }),
        (values, token) => {
          const logits = Float32Array.from(values);
          fc.pre(logits.some((value) => value !== Number.NEGATIVE_INFINITY));
          const got = new QueryBench(logits).draw(token);
          expect(got === expected(logits, token) || isAsGood(logits, token, got)).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('cuts a whole vocabulary where the reference cuts it', () => {
    const logits = normal(151_936, 5, 2);
    const row = new QueryBench(logits);
    const rng = createRng(9);
    for (const cut of [{ topP: 1 }, { topP: 0.9 }, { topP: 0.999 }, { topP: 1, topK: 40 }, { topP: 0.5, topK: 5000 }]) {
      for (const uniform of [0, rng(), rng(), rng(), 1 - 2 ** -53]) {
        const token = { temperature: 1, ...cut, uniform };
        expect(row.draw(token), JSON.stringify(token)).toBe(expected(logits, token));
      }
    }
  });

  it('gives each token its probability', () => {
    // χ² with 5 and 3 degrees of freedom exceeds these once in 10,000 times when nothing is wrong. Where 0.01 of probability
    // is moved between the first two (Σ (p′ − p)² / p = 5.8e-4), the noncentrality is 58 and the power 0.99.
    const n = 100_000;
    const shares = [0.4, 0.3, 0.15, 0.09, 0.04, 0.02];
    const row = new QueryBench(Float32Array.from(shares, Math.log));
    const rng = createRng(17);
    for (const { topP, kept, critical } of [
      { topP: 1, kept: 6, critical: 25.75 },
      { topP: 0.93, kept: 4, critical: 21.11 },
    ]) {
      const counts = shares.map(() => 0);
      for (let i = 0; i < n; i++) counts[row.draw({ temperature: 1, topP, uniform: rng() })]!++;
      expect(counts.slice(kept).every((count) => count === 0)).toBe(true);
      const mass = shares.slice(0, kept).reduce((a, b) => a + b);
      const chi = shares.slice(0, kept).reduce((sum, p, i) => {
        const due = (n * p) / mass;
        return sum + (counts[i]! - due) ** 2 / due;
      }, 0);
      expect(chi).toBeLessThan(critical);
    }
  });

  it('takes 0 and -0 for equal, the lower index first', () => {
    const row = new QueryBench(Float32Array.of(-1, -0, 0, -0, -2));
    expect(row.draw({ temperature: 0, topP: 1, uniform: 0 })).toBe(1);
    expect(row.draw({ temperature: 1, topP: 0.1, uniform: 0.99 })).toBe(1);
    expect(row.draw({ temperature: 1, topP: 1, topK: 2, uniform: 0.99 })).toBe(2);
  });
});

describe('log-probabilities', () => {
  it('are the reference’s, drawn or known', () => {
    for (const [seed, length] of [3, 20, 21, 1000, 4099].entries()) {
      const logits = normal(length, seed + 1, 3).map((value, i) => (i % 5 === 0 ? Math.round(value) : value));
      const row = new QueryBench(logits);
      for (const topLogprobs of [0, 1, 5, 20]) {
        for (const token of [
          2,
          { temperature: 0.5, topP: 0.9, uniform: 0.4 },
          { temperature: 0, topP: 1, uniform: 0 },
        ]) {
          const got = row.answer({ token, topLogprobs });
          const want = answerQuery(logits, { token, topLogprobs });
          if (got instanceof Error || want instanceof Error) throw new Error('damaged');
          expect(got.tokenId).toBe(want.tokenId);
          expect(got.logprob).toBeCloseTo(want.logprob!, 10);
          expect(got.topLogprobs!.map(({ tokenId }) => tokenId)).toEqual(
            want.topLogprobs!.map(({ tokenId }) => tokenId),
          );
          for (const [i, { logprob }] of got.topLogprobs!.entries())
            expect(logprob).toBeCloseTo(want.topLogprobs![i]!.logprob, 10);
        }
      }
    }
  });

  it('are none unless asked for', () => {
    expect(new QueryBench(Float32Array.of(1, 2)).answer({ token: 0 })).toEqual({ tokenId: 0 });
  });

  it('of impossible tokens are -∞', () => {
    const got = new QueryBench(Float32Array.of(Number.NEGATIVE_INFINITY, 2)).answer({ token: 0, topLogprobs: 3 });
    const best = { tokenId: 1, logprob: 0 };
    const impossible = { tokenId: 0, logprob: Number.NEGATIVE_INFINITY };
    expect(got).toEqual({ ...impossible, topLogprobs: [best, impossible] });
  });
});

describe('damaged logits', () => {
  const { NaN: nan, POSITIVE_INFINITY: infinite, NEGATIVE_INFINITY: impossible } = Number;
  it.each([
    [[nan]],
    [[1, 2, 3, 4, nan]],
    [[1, 2, infinite, nan]],
    [[1, nan, infinite]],
    [Array.from({ length: 37 }, (_, i) => (i === 20 ? nan : i))],
    [[impossible, impossible, impossible]],
  ])('%j are refused as the reference refuses them', (values) => {
    const logits = Float32Array.from(values);
    const row = new QueryBench(logits);
    for (const temperature of [0, 1]) {
      for (const topP of [0.5, 1]) {
        const query = { token: { temperature, topP, uniform: 0.5 }, topLogprobs: 1 };
        const [got, want] = [row.answer(query), answerQuery(logits, query)];
        expect(got).toBeInstanceOf(ModelError);
        expect((got as ModelError).message).toBe((want as ModelError).message);
      }
    }
  });
});

describe('the exponential', () => {
  it('is off by less than 1e-12 of itself', () => {
    const { exports } = new QueryBench(Float32Array.of(0));
    let worst = 0;
    for (let x = 0; x > -700; x -= 0.0137) worst = Math.max(worst, Math.abs(exports.expOf(x) / Math.exp(x) - 1));
    expect(worst).toBeLessThan(1e-12);
    expect(worst).toBeGreaterThan(1e-16);
    expect([0, -709, -1e300, Number.NEGATIVE_INFINITY].map((x) => exports.expOf(x))).toEqual([1, 0, 0, 0]);
  });
});
