import { answerQuery, changeLogits, createRng, type LogitChanges, ModelError, type SamplingParams } from '@shoal/model';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normal } from '../testing/numbers.ts';
import { expected, isAsGood, QueryBench } from './testing/query-bench.ts';

/** Random changes to logits of a vocabulary, as fast-check shrinks them. */
function changesTo(vocab: number): fc.Arbitrary<LogitChanges> {
  const token = fc.nat(vocab - 1);
  const bias = fc.oneof(fc.double({ min: -100, max: 100, noNaN: true }), fc.constant(Number.NEGATIVE_INFINITY));
  const counts = fc.uniqueArray(fc.tuple(token, fc.nat(5)), { maxLength: vocab, selector: ([id]) => id });
  const penalty = fc.oneof(fc.double({ min: -2, max: 2, noNaN: true }), fc.constant(0));
  return fc.record({
    biases: fc.option(
      fc.array(fc.tuple(token, bias), { maxLength: 8 }).map((entries) => new Map(entries)),
      { nil: undefined },
    ),
    penalties: fc.option(
      fc.record({
        repetition: fc.oneof(fc.double({ min: 1e-300, max: 10, noNaN: true }), fc.constantFrom(1, 1.1, 2)),
        frequency: penalty,
        presence: penalty,
        seen: counts.map((pairs) => Int32Array.from(pairs.flat())),
      }),
      { nil: undefined },
    ),
  });
}

const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

/** Logits, how a token is drawn from them, and which tokens may be. */
const cases = fc.integer({ min: 1, max: 140 }).chain((vocab) =>
  fc.record({
    logits: fc
      .array(
        fc.oneof(
          { arbitrary: fc.float({ min: -20, max: 20, noNaN: true }), weight: 8 },
          { arbitrary: fc.constantFrom(-0, 0, 1, Number.NEGATIVE_INFINITY, -3.4e38, 3.4e38, 1e-45), weight: 1 },
        ),
        { minLength: vocab, maxLength: vocab },
      )
      .map((values) => Float32Array.from(values)),
    token: fc.record({
      temperature: fc.constantFrom(0, 5e-324, 0.01, 0.7, 1, 2, 1e6),
      topP: fc.oneof(unit, fc.constantFrom(0, 1)),
      topK: fc.nat(vocab + 5),
      minP: fc.oneof(fc.constant(0), unit, fc.constantFrom(1, 5e-324)),
      uniform: fc.oneof(unit, fc.constantFrom(0, 1 - 2 ** -53)),
      changes: fc.option(changesTo(vocab), { nil: undefined }),
    }),
    mask: fc.option(
      fc
        .oneof(
          fc.array(fc.integer({ min: 0, max: 0xffffffff }), { minLength: 5, maxLength: 5 }),
          // Few tokens, as grammars have it.
          fc.uniqueArray(fc.nat(159), { maxLength: 4 }).map((ids) => {
            const words = [0, 0, 0, 0, 0];
            for (const id of ids) words[id >>> 5]! |= 1 << (id & 31);
            return words;
          }),
        )
        .map((words) => Uint32Array.from(words)),
      { nil: undefined },
    ),
  }),
);

describe('a token under changes to logits', () => {
  it('is the reference’s, of changed logits that have the same bits, for any parameters and vocabulary', () => {
    let [drawn, refused, rounded] = [0, 0, 0];
    fc.assert(
      fc.property(cases, ({ logits, token, mask }) => {
        fc.pre(logits.some((value) => value !== Number.NEGATIVE_INFINITY));
        const bench = new QueryBench(logits, 2 * logits.length + 16);
        const got = bench.answer({ token, topLogprobs: 3 }, mask);
        const want = answerQuery(logits, { token, topLogprobs: 3 }, mask);
        expect(bench.isTidy).toBe(true);
        if (got instanceof Error || want instanceof Error) {
          refused++;
          expect(got).toBeInstanceOf(ModelError);
          expect(want).toBeInstanceOf(ModelError);
          expect((got as Error).message).toBe((want as Error).message);
          return;
        }
        drawn++;
        const { biases, penalties } = token.changes ?? {};
        if (mask || biases?.size || penalties?.seen.length) {
          expect(bench.draw({ ...token, minP: 0 }, mask)).toBeLessThan(logits.length);
          expect(bench.changed).toEqual(changeLogits(logits, token.changes ?? {}, mask));
        }
        if (got.tokenId === want.tokenId) expect(got.logprob).toBeCloseTo(want.logprob!, 9);
        else {
          rounded++;
          expect(isAsGood(logits, token, got.tokenId, mask)).toBe(true);
        }
        expect(got.topLogprobs!.map(({ tokenId }) => tokenId)).toEqual(want.topLogprobs!.map(({ tokenId }) => tokenId));
      }),
      { numRuns: 3000, seed: 12 },
    );
    expect(drawn).toBeGreaterThan(2000);
    expect(refused).toBeGreaterThan(50);
    // Numbers at the very end of a token's share, and logits that weigh the same, which fast-check likes.
    expect(rounded).toBeLessThan(drawn / 20);
  });

  it('is the reference’s without exception for ordinary numbers', () => {
    const rng = createRng(31);
    const below = (limit: number): number => Math.floor(rng() * limit);
    for (let row = 0; row < 150; row++) {
      const vocab = 1 + below(400);
      const logits = normal(vocab, row + 1, 3);
      const bench = new QueryBench(logits, 4 * vocab);
      const some = (): number[] => [...new Set(Array.from({ length: below(vocab) }, () => below(vocab)))];
      for (let draw = 0; draw < 40; draw++) {
        const seen = Int32Array.from(some().flatMap((id) => [id, below(4)]));
        const token = {
          temperature: [0, 0.5, 1, 1.7][draw % 4]!,
          topP: draw % 3 === 0 ? 1 : rng(),
          topK: draw % 5 === 0 ? below(vocab) : 0,
          minP: draw % 2 === 0 ? 0 : rng() ** 3,
          uniform: rng(),
          changes: {
            biases: draw % 7 === 0 ? new Map(some().map((id) => [id, rng() * 200 - 100])) : undefined,
            penalties: { repetition: 0.5 + rng(), frequency: rng() * 4 - 2, presence: rng() * 4 - 2, seen },
          },
        };
        // One token at least, since a mask that allows none is another matter.
        const mask = Uint32Array.from({ length: Math.ceil(vocab / 32) }, () => (rng() * 2 ** 32) | 1);
        const which = draw % 3 === 1 ? mask : undefined;
        expect(bench.draw(token, which)).toBe(expected(logits, token, which));
      }
    }
  });

  it('is the reference’s in a whole vocabulary', () => {
    const vocab = 151_936;
    const logits = normal(vocab, 5, 2);
    const rng = createRng(9);
    const some = (count: number) => Array.from({ length: count }, () => Math.floor(rng() * vocab));
    const bench = new QueryBench(logits, 2 * 8192);
    const mask = Uint32Array.from({ length: vocab / 32 }, () => rng() * 2 ** 32);
    const seen = Int32Array.from([...new Set(some(4096))].flatMap((id, i) => [id, i % 4]));
    const changes = {
      biases: new Map(some(1024).map((id) => [id, rng() * 8 - 4])),
      penalties: { repetition: 1.2, frequency: 0.3, presence: -0.4, seen },
    };
    for (const cut of [{ topP: 1 }, { topP: 0.9 }, { topP: 1, minP: 0.02 }, { topP: 0.95, topK: 50, minP: 0.001 }]) {
      for (const uniform of [0, rng(), rng(), 1 - 2 ** -53]) {
        const token = { temperature: 1, ...cut, uniform, changes };
        for (const which of [mask, undefined])
          expect(bench.draw(token, which), JSON.stringify(cut)).toBe(expected(logits, token, which));
      }
    }
    expect(bench.isTidy).toBe(true);
  });

  it('keeps to tokens that are inside the vocabulary', () => {
    const logits = normal(37, 3, 2);
    const bench = new QueryBench(logits, 8);
    const seen = Int32Array.of(37, 2, -1, 2);
    const changes = {
      biases: new Map([
        [37, 50],
        [-5, 50],
      ]),
      penalties: { repetition: 2, frequency: 1, presence: 1, seen },
    };
    const token: SamplingParams = { temperature: 0, topP: 1, uniform: 0, changes };
    expect(bench.draw(token)).toBe(expected(logits, { temperature: 0, topP: 1, uniform: 0 }));
    expect(bench.changed).toEqual(logits);
    expect(bench.isTidy).toBe(true);
  });

  it('is refused clearly where nothing is left', () => {
    const logits = Float32Array.of(1, 2, Number.NEGATIVE_INFINITY);
    const token = { temperature: 1, topP: 1, uniform: 0.5 };
    for (const mask of [Uint32Array.of(0), Uint32Array.of(4), Uint32Array.of(8)]) {
      const got = new QueryBench(logits).answer({ token }, mask);
      expect(got).toBeInstanceOf(ModelError);
      expect((got as Error).message).toMatch(/no token may be drawn/);
    }
    const damaged = new QueryBench(Float32Array.of(1, Number.NaN, 3)).answer({ token }, Uint32Array.of(1));
    expect((damaged as Error).message).toMatch(/logits hold NaN at token 1/);
  });
});

describe('tokens drawn under a mask, biases, penalties and min_p', () => {
  const logits = Float32Array.of(2, 1.4, 3, 2.2, 1.9, 2.6, -1, 2.4, 1.2, 0.4, 2.1, 2.5, 1.1);
  const temperature = 0.9;
  const mask = Uint32Array.of(0b1110111111011);
  const changes = {
    biases: new Map([
      [1, 0.8],
      [5, -0.5],
      [6, 1.5],
    ]),
    penalties: { repetition: 1.25, frequency: 0.3, presence: 0.4, seen: Int32Array.of(0, 0, 3, 2, 6, 1, 7, 1) },
  };
  const minP = 0.2;

  /** The same in float64, step by step. */
  function probabilities(): number[] {
    const changed = Array.from(logits);
    for (const [token, bias] of changes.biases) changed[token]! += bias;
    for (const token of [0, 3, 6, 7])
      changed[token] = changed[token]! > 0 ? changed[token]! / 1.25 : changed[token]! * 1.25;
    changed[3]! -= 2 * 0.3 + 0.4;
    changed[6]! -= 0.3 + 0.4;
    changed[7]! -= 0.3 + 0.4;
    const weights = changed.map((value, i) => ([2, 9].includes(i) ? 0 : Math.exp(value / temperature)));
    const most = Math.max(...weights);
    const kept = weights.map((weight) => (weight >= minP * most ? weight : 0));
    const sum = kept.reduce((a, b) => a + b);
    return kept.map((weight) => weight / sum);
  }

  /** χ² of `draws` tokens against the distribution; of its tokens only. */
  function chiSquare(
    draw: (uniform: number) => number,
    shares: readonly number[],
    draws: number,
    seed: number,
  ): number {
    const rng = createRng(seed);
    const counts = shares.map(() => 0);
    for (let i = 0; i < draws; i++) counts[draw(rng())]!++;
    for (const [i, p] of shares.entries()) if (p === 0) expect(counts[i]).toBe(0);
    return shares.reduce((sum, p, i) => (p === 0 ? sum : sum + (counts[i]! - draws * p) ** 2 / (draws * p)), 0);
  }

  /**
   * χ² with 8 degrees of freedom exceeds this once in 10,000 times when nothing is wrong. Where 0.01 of probability is moved
   * between the two likeliest tokens (Σ (p′ − p)² / p = 1.1e-3), the noncentrality is 66 and the power 0.998.
   */
  const critical = 31.83;
  const draws = 60_000;
  const bench = new QueryBench(logits, 32);
  const token = { temperature, topP: 1, minP, changes };
  const engines: [string, (uniform: number, how?: typeof token) => number][] = [
    ['threads', (uniform, how = token) => bench.draw({ ...how, uniform }, mask)],
    ['reference', (uniform, how = token) => expected(logits, { ...how, uniform }, mask)],
  ];

  it.each(engines)('have the distribution that these leave: %s', (_, draw) => {
    const shares = probabilities();
    expect(shares.filter((p) => p > 0)).toHaveLength(9);
    expect(chiSquare(draw, shares, draws, 41)).toBeLessThan(critical);
  });

  it.each(engines)('would show a penalty that is off by 0.2: %s', (_, draw) => {
    const off = { ...changes, penalties: { ...changes.penalties, presence: 0.2 } };
    const drawOff = (uniform: number): number => draw(uniform, { ...token, changes: off });
    expect(chiSquare(drawOff, probabilities(), draws, 42)).toBeGreaterThan(critical);
  });
});
