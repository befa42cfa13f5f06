import type { GateConfig } from '../model-config.ts';

/** DeepSeek-V3's gate, `noaux_tc`, with two of four groups. */
export const noauxTc: GateConfig = {
  scoring: 'sigmoid',
  hasBias: true,
  hasLogitBias: false,
  scalesInput: false,
  nGroup: 4,
  topkGroup: 2,
  groupScore: 'sum-of-best-two',
  normTopkProb: true,
  scaleWhenNormalised: true,
  routedScalingFactor: 1,
};
