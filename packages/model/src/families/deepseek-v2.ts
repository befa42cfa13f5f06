import { z } from 'zod';
import { deepseekConfig, deepseekIgnoredKeys, deepseekKeys } from './deepseek.ts';
import { expertCount, type Family, storedAsNamed, unsupported } from './family.ts';
import { softmaxGate } from './gates.ts';

const schema = z.object({
  ...deepseekKeys,
  n_group: expertCount.nullish(),
  topk_group: expertCount.nullish(),
  topk_method: z.string(),
  scoring_func: z.string().default('softmax'),
});

/** DeepSeek-V2 and V2-Lite (paper 2405.04434). */
export const deepseekV2: Family<typeof schema> = {
  modelType: 'deepseek_v2',
  architectures: ['DeepseekV2ForCausalLM'],
  schema,
  ignoredKeys: deepseekIgnoredKeys,
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    const grouped = raw.topk_method === 'group_limited_greedy';
    if (!grouped && raw.topk_method !== 'greedy') {
      const computed = 'this version computes "greedy" and "group_limited_greedy" in this family';
      throw unsupported(where, 'topk_method', `is "${raw.topk_method}"; ${computed}`);
    }
    if (raw.scoring_func !== 'softmax') {
      throw unsupported(where, 'scoring_func', `is "${raw.scoring_func}"; this family's gate is "softmax"`);
    }
    const gate = softmaxGate({
      nGroup: grouped ? (raw.n_group ?? 1) : 1,
      topkGroup: grouped ? (raw.topk_group ?? 1) : 1,
      // The published code either normalises or scales, and never normalises a single weight.
      normTopkProb: raw.norm_topk_prob && raw.num_experts_per_tok > 1,
      routedScalingFactor: raw.routed_scaling_factor,
    });
    return deepseekConfig('deepseek_v2', raw, gate, where);
  },
};
