import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { gateLogits, selectExperts } from '../gate.ts';
import type { GateConfig } from '../model-config.ts';
import { noauxTc } from '../testing/gate-configs.ts';
import { openGate } from './index.ts';
import { settingsOf } from './top-k.ts';

const config = { nRoutedExperts: 8, numExpertsPerTok: 3, gate: noauxTc };
const noBias = new Float32Array(8);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
/** Inverse of the sigmoid, so that a test can state scores. */
const logit = (s: number) => Math.log(s / (1 - s));

function select(scores: number[], changes: Partial<GateConfig> = {}, bias: Float32Array = noBias) {
  const changed = { ...config, gate: { ...noauxTc, ...changes } };
  const { topkIdx, topkWeights } = selectExperts(changed, Float32Array.from(scores, logit), bias, 1);
  return { experts: [...topkIdx], weights: [...topkWeights] };
}

describe('noaux_tc', () => {
  it('scores a group by the sum of its best two, not by its best', () => {
    // Group 0 holds the single best expert, groups 1 and 2 the best pairs.
    const { experts } = select([0.9, 0.01, 0.5, 0.55, 0.6, 0.5, 0.1, 0.1]);
    expect(experts).toEqual([4, 3, 2]);
  });

  it('leaves the other groups out even where every biased score within the kept ones is negative', () => {
    const bias = new Float32Array(8).fill(-2);
    const { experts } = select([0.9, 0.8, 0.7, 0.6, 0.1, 0.1, 0.1, 0.1], {}, bias);
    expect(experts).toEqual([0, 1, 2]);
  });

  it('chooses by the biased score but weights by the unbiased one', () => {
    const bias = Float32Array.of(0, 0, 0, 0, 0, 0, 1, 1);
    const { experts, weights } = select([0.9, 0.8, 0.1, 0.1, 0.1, 0.1, 0.2, 0.3], {}, bias);
    expect(experts).toEqual([7, 6, 0]);
    const sum = 0.3 + 0.2 + 0.9;
    for (const [i, s] of [0.3, 0.2, 0.9].entries()) expect(weights[i]).toBeCloseTo(s / sum, 6);
  });

  it('normalises only if asked, and scales either way', () => {
    const scores = [0.9, 0.8, 0.7, 0.6, 0.1, 0.1, 0.1, 0.1];
    const scaled = select(scores, { routedScalingFactor: 2.5 }).weights;
    expect(scaled.reduce((a, b) => a + b)).toBeCloseTo(2.5, 6);
    const plain = select(scores, { normTopkProb: false, routedScalingFactor: 2.5 }).weights;
    for (const [i, s] of [0.9, 0.8, 0.7].entries()) expect(plain[i]).toBeCloseTo(2.5 * s, 6);
  });

  it('gives ties, among groups and among experts, to the lower index', () => {
    expect(select(Array(8).fill(0.5)).experts).toEqual([0, 1, 2]);
    const { experts } = select([0.1, 0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
    expect(experts).toEqual([2, 3, 4]);
  });

  it('stays defined where all scores underflow', () => {
    const { topkIdx, topkWeights } = selectExperts(config, new Float32Array(8).fill(-1000), noBias, 1);
    expect([...topkIdx]).toEqual([0, 1, 2]);
    expect([...topkWeights]).toEqual([0, 0, 0]);
  });

  it('gives distinct experts of at most topkGroup groups, whatever the logits, NaN included', () => {
    const value = fc.oneof(fc.float({ noNaN: false }), fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, 0));
    fc.assert(
      fc.property(
        fc.array(value, { minLength: 8, maxLength: 8 }),
        fc.array(value, { minLength: 8, maxLength: 8 }),
        (logits, bias) => {
          const { topkIdx } = selectExperts(config, Float32Array.from(logits), Float32Array.from(bias), 1);
          expect(new Set(topkIdx).size).toBe(3);
          expect(Math.max(...topkIdx)).toBeLessThan(8);
          expect(new Set([...topkIdx].map((e) => Math.floor(e / 2))).size).toBeLessThanOrEqual(2);
        },
      ),
    );
  });

  it('agrees with a plain sort over many random rows, and rows do not touch each other', () => {
    const unit = fc.double({ min: -4, max: 4, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(unit, { minLength: 24, maxLength: 24 }),
        fc.array(unit, { minLength: 8, maxLength: 8 }),
        (logits, bias) => {
          const f32 = Float32Array.from(logits);
          const biases = Float32Array.from(bias);
          const { topkIdx } = selectExperts(config, f32, biases, 3);
          for (let r = 0; r < 3; r++) {
            const c = Float32Array.from({ length: 8 }, (_, e) => Math.fround(sigmoid(f32[r * 8 + e]!)) + biases[e]!);
            const best = (list: number[], by: (i: number) => number, k: number) =>
              [...list].sort((a, b) => by(b) - by(a) || a - b).slice(0, k);
            const groups = best([0, 1, 2, 3], (g) => Math.fround(c[2 * g]! + c[2 * g + 1]!), 2);
            const experts = best(
              [0, 1, 2, 3, 4, 5, 6, 7].filter((e) => groups.includes(e >> 1)),
              (e) => c[e]!,
              3,
            );
            expect([...topkIdx.subarray(r * 3, r * 3 + 3)]).toEqual(experts);
          }
        },
      ),
    );
  });

  it('computes the logits from hidden states', () => {
    const weight = Float32Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? i / 2 : 0)); // expert e scores e × x[0]
    const x = Float32Array.of(1, 9, -1, 9);
    const logits = gateLogits({ ...config, hiddenSize: 2 }, { weight, logitBias: null, bias: noBias }, x, 2);
    expect([...selectExperts(config, logits, noBias, 2).topkIdx]).toEqual([7, 6, 5, 0, 1, 2]);
  });

  it('gives the same bits through the table as in the engines', () => {
    const logits = Float32Array.from({ length: 80 }, (_, i) => Math.sin(i * i));
    const bias = Float32Array.from({ length: 8 }, (_, i) => i / 50);
    const { topkIdx, topkWeights } = selectExperts(config, logits, bias, 10);
    const open = openGate('group-limited', settingsOf(config), { layer: 3, numExperts: 8, bias });
    expect(open({ numRows: 10, logits })).toMatchObject({
      experts: Uint16Array.from(topkIdx),
      weights: topkWeights,
      dropped: [],
    });
  });
});

describe('gate group-limited', () => {
  it.each([
    ['groups that do not divide the experts', { nGroup: 3 }, 'nGroup is 3: 8 experts are not a multiple of it'],
    ['more kept groups than groups', { topkGroup: 5 }, 'topkGroup is 5: there are only 4 groups'],
    ['groups that hold too few', { k: 5 }, 'k is 5: 2 groups of 2 experts hold only 4'],
    ['more experts than there are', { k: 9 }, 'k is 9: there are only 8 experts'],
    ['groups without a best two', { nGroup: 8, k: 2 }, 'groupScore is sum-of-best-two: groups have one expert each'],
  ])('names %s', (_, changes, problem) => {
    const settings = { ...settingsOf(config), ...changes };
    expect(() => openGate('group-limited', settings, { layer: 0, numExperts: 8 })).toThrow(
      `gate group-limited: ${problem}`,
    );
  });
});
