import { ModelError } from '../errors.ts';
import type { GateConfig, GqaConfig } from '../model-config.ts';
import { type CommonKeys, expertCount, refuse } from './family.ts';

/** Softmax over all experts, top k, weights normalised or not: the gate of the families without groups. */
export function softmaxGate(normTopkProb: boolean): GateConfig {
  return {
    scoring: 'softmax',
    hasBias: false,
    nGroup: 1,
    topkGroup: 1,
    groupScore: 'max',
    normTopkProb,
    scaleWhenNormalised: false,
    routedScalingFactor: 1,
  };
}

type HeadKeys = CommonKeys & { num_key_value_heads: number; head_dim?: number | null | undefined };

/** Heads checked against each other; `head_dim` defaults to hidden_size / num_attention_heads where it is absent. */
export function gqaConfig(raw: HeadKeys, choices: Pick<GqaConfig, 'qkNorm' | 'clipQkv'>, where: string): GqaConfig {
  const { hidden_size: hiddenSize, num_attention_heads: heads, num_key_value_heads: kvHeads } = raw;
  const headDim = raw.head_dim ?? hiddenSize / heads;
  const check = (wrong: boolean, key: keyof HeadKeys, detail: string): void => refuse(raw, where, wrong, key, detail);
  check(!Number.isInteger(headDim), 'num_attention_heads', `hidden_size ${hiddenSize} is not a multiple of it`);
  check(
    headDim % 2 !== 0,
    raw.head_dim ? 'head_dim' : 'num_attention_heads',
    `RoPE rotates pairs, and a head is ${headDim} wide`,
  );
  check(heads % kvHeads !== 0, 'num_key_value_heads', `num_attention_heads ${heads} is not a multiple of it`);
  return {
    kind: 'gqa',
    numAttentionHeads: heads,
    numKeyValueHeads: kvHeads,
    headDim,
    ...choices,
    softmaxScale: 1 / Math.sqrt(headDim),
  };
}

/** Published under one name or the other; newer tools write Qwen3's under Mixtral's. */
export const numExpertsKeys = { num_experts: expertCount.nullish(), num_local_experts: expertCount.nullish() };

/** Routed experts per MoE layer, at least as many as a token chooses. */
export function readNumExperts(
  raw: CommonKeys & { num_experts?: number | null | undefined; num_local_experts?: number | null | undefined },
  where: string,
): number {
  const { num_experts: numExperts, num_local_experts: numLocalExperts } = raw;
  const count = numExperts ?? numLocalExperts;
  if (count === undefined || count === null) {
    const key = 'num_experts';
    throw new ModelError(
      'missing-key',
      key,
      `${where}: ${key} (or num_local_experts) is missing: add it as in the published config`,
    );
  }
  refuse(raw, where, (numLocalExperts ?? count) !== count, 'num_local_experts', `num_experts is ${count}`);
  refuse(raw, where, raw.num_experts_per_tok > count, 'num_experts_per_tok', `there are only ${count} experts`);
  return count;
}
