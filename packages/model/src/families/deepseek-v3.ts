import { z } from 'zod';
import type { GateConfig } from '../model-config.ts';
import { deepseekConfig, deepseekIgnoredKeys, deepseekKeys } from './deepseek.ts';
import { expertCount, type Family, storedAsNamed, unsupported } from './family.ts';

const schema = z.object({
  ...deepseekKeys,
  n_group: expertCount,
  topk_group: expertCount,
  // This family has only one gate, and the newest tools omit its name.
  topk_method: z.string().default('noaux_tc'),
  scoring_func: z.string().default('sigmoid'),
});

/** DeepSeek-V3 and R1 (paper 2412.19437), Moonlight, and Shoal's own default model. */
export const deepseekV3: Family<typeof schema> = {
  modelType: 'deepseek_v3',
  architecture: 'DeepseekV3ForCausalLM',
  schema,
  ignoredKeys: deepseekIgnoredKeys,
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    for (const [key, value] of [
      ['topk_method', 'noaux_tc'],
      ['scoring_func', 'sigmoid'],
    ] as const) {
      if (raw[key] !== value) {
        throw unsupported(where, key, `is "${raw[key]}"; this version computes only "${value}" in this family`);
      }
    }
    const gate: GateConfig = {
      scoring: 'sigmoid',
      hasBias: true,
      hasLogitBias: false,
      scalesInput: false,
      nGroup: raw.n_group,
      topkGroup: raw.topk_group,
      groupScore: 'sum-of-best-two',
      normTopkProb: raw.norm_topk_prob,
      scaleWhenNormalised: true,
      routedScalingFactor: raw.routed_scaling_factor,
    };
    return deepseekConfig('deepseek_v3', raw, gate, where);
  },
};
