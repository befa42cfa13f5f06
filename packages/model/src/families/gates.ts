import { z } from 'zod';
import type { GateConfig } from '../model-config.ts';
import { expertCount, positive, refuse, unsupported } from './family.ts';

const PLAIN = {
  hasBias: false,
  hasLogitBias: false,
  scalesInput: false,
  nGroup: 1,
  topkGroup: 1,
  groupScore: 'max',
  normTopkProb: true,
  scaleWhenNormalised: false,
  routedScalingFactor: 1,
} as const;

/**
 * Softmax over all experts, top k, weights normalised or not. A softmax over the k chosen logits is the same as normalising the
 * chosen probabilities.
 */
export function softmaxGate(choices: Partial<Omit<GateConfig, 'scoring'>> = {}): GateConfig {
  return { ...PLAIN, scoring: 'softmax', ...choices };
}

/** Sigmoids, top k, weights not normalised. */
export function sigmoidGate(choices: Partial<Omit<GateConfig, 'scoring'>>): GateConfig {
  return { ...PLAIN, scoring: 'sigmoid', normTopkProb: false, ...choices };
}

/** The keys of DeepSeek-V3's gate. Its two names may be missing, since families with it have no other. */
export const noauxKeys = {
  n_group: expertCount,
  topk_group: expertCount,
  topk_method: z.string().default('noaux_tc'),
  scoring_func: z.string().default('sigmoid'),
  norm_topk_prob: z.boolean(),
  routed_scaling_factor: positive,
} satisfies z.ZodRawShape;

type NoauxKeys = z.infer<z.ZodObject<typeof noauxKeys>>;

/** `noaux_tc` (DeepSeek-V3 paper §2.1.2), as GLM-4.5 and dots.llm1 have it too. */
export function noauxGate(raw: NoauxKeys, where: string): GateConfig {
  for (const [key, value] of [
    ['topk_method', 'noaux_tc'],
    ['scoring_func', 'sigmoid'],
  ] as const) {
    if (raw[key] !== value) {
      throw unsupported(where, key, `is "${raw[key]}"; this version computes only "${value}" in this family`);
    }
  }
  return sigmoidGate({
    hasBias: true,
    nGroup: raw.n_group,
    topkGroup: raw.topk_group,
    groupScore: 'sum-of-best-two',
    normTopkProb: raw.norm_topk_prob,
    scaleWhenNormalised: true,
    routedScalingFactor: raw.routed_scaling_factor,
  });
}

interface GroupKeys {
  n_routed_experts: number;
  num_experts_per_tok: number;
  n_group: number;
  topk_group: number;
}

/** Checks routing groups against the number of experts. */
export function refuseGroups(raw: GroupKeys, { groupScore }: GateConfig, where: string): void {
  const check = (wrong: boolean, key: keyof GroupKeys, detail: string): void => refuse(raw, where, wrong, key, detail);
  const { n_routed_experts: experts, n_group: groups, topk_group: kept } = raw;
  const groupSize = experts / groups;
  check(experts % groups !== 0, 'n_group', `n_routed_experts ${experts} is not a multiple of it`);
  check(kept > groups, 'topk_group', `n_group is only ${groups}`);
  check(
    raw.num_experts_per_tok > kept * groupSize,
    'num_experts_per_tok',
    `topk_group ${kept} groups of ${groupSize} experts hold only ${kept * groupSize}`,
  );
  check(
    groupScore === 'sum-of-best-two' && groups > 1 && groupSize < 2,
    'n_group',
    'a group is scored by the sum of its best two experts, and a group would have only one: set n_group to 1 to disable groups',
  );
}
