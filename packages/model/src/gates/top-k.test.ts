import { describe, expect, it } from 'vitest';
import { selectExperts } from '../gate.ts';
import type { GateConfig } from '../model-config.ts';
import { noauxTc } from '../testing/gate-configs.ts';
import { openGate } from './index.ts';

const config = { nRoutedExperts: 8, numExpertsPerTok: 3 };

describe('softmax gates', () => {
  const softmax: GateConfig = {
    ...noauxTc,
    scoring: 'softmax',
    hasBias: false,
    groupScore: 'max',
    normTopkProb: false,
    scaleWhenNormalised: false,
  };
  /** Scores that sum to 1 come back from their logarithms. */
  const choose = (scores: number[], changes: Partial<GateConfig>) => {
    const { topkIdx, topkWeights } = selectExperts(
      { ...config, gate: { ...softmax, ...changes } },
      Float32Array.from(scores, Math.log),
      null,
      1,
    );
    return { experts: [...topkIdx], weights: [...topkWeights].map((weight) => Number(weight.toFixed(5))) };
  };
  // The best pair is group 2's, the best two single experts are in groups 0 and 1.
  const scores = [0.25, 0.01, 0.22, 0.01, 0.19, 0.18, 0.08, 0.06];

  it('takes the best experts of all (greedy)', () => {
    expect(choose(scores, { nGroup: 1, topkGroup: 1 })).toEqual({ experts: [0, 2, 4], weights: [0.25, 0.22, 0.19] });
  });

  it('scores a group by its best expert (group_limited_greedy)', () => {
    expect(choose(scores, {}).experts).toEqual([0, 2, 1]);
    expect(choose(scores, { groupScore: 'sum-of-best-two' }).experts).toEqual([0, 4, 5]);
  });

  it('normalises or scales, not both (DeepSeek-V2)', () => {
    const limits = { nGroup: 1, topkGroup: 1, routedScalingFactor: 16 };
    expect(choose(scores, limits).weights).toEqual([4, 3.52, 3.04]);
    const normalised = choose(scores, { ...limits, normTopkProb: true }).weights;
    expect(normalised).toEqual([0.25 / 0.66, 0.22 / 0.66, 0.19 / 0.66].map((weight) => Number(weight.toFixed(5))));
  });

  it('is defined for logits far beyond what exp can hold', () => {
    const { topkIdx, topkWeights } = selectExperts(
      { ...config, gate: { ...softmax, nGroup: 1, topkGroup: 1 } },
      Float32Array.of(-1e4, 1e4, 0, 0, 0, 0, 0, 0),
      null,
      1,
    );
    expect([topkIdx[0], topkWeights[0], topkWeights[1]]).toEqual([1, 1, 0]);
  });
});

describe('gate top-k', () => {
  it.each([
    ['no expert', { k: 0 }, 'k is 0: '],
    ['more experts than there are', { k: 9 }, 'k is 9: there are only 8 experts'],
    ['another scoring', { k: 2, scoring: 'relu' }, 'scoring is relu: '],
    ['a scale of 0', { k: 2, routedScalingFactor: 0 }, 'routedScalingFactor is 0: '],
    ['a missing number of experts', {}, 'k is missing: '],
  ])('names %s', (_, settings, problem) => {
    expect(() => openGate('top-k', settings, { layer: 0, numExperts: 8 })).toThrow(`gate top-k: ${problem}`);
  });
});

describe('a gate that scales inputs', () => {
  it('chooses by logits, where sigmoids of large ones are equal in float32', () => {
    const llama4 = { ...noauxTc, hasBias: false, scalesInput: true, nGroup: 1, topkGroup: 1, normTopkProb: false };
    const choice = selectExperts(
      { nRoutedExperts: 3, numExpertsPerTok: 1, gate: llama4 },
      Float32Array.of(20, 25, 22),
      null,
      1,
    );
    expect([...choice.topkIdx]).toEqual([1]);
    expect([...choice.topkWeights]).toEqual([1]);
  });
});
