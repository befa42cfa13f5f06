import { ModelError } from '../errors.ts';
import type { GateConfig, GqaConfig, LayerKind, ModelConfig, ModelType } from '../model-config.ts';
import { commonConfig, type CommonKeys, expertCount, fullAttention, refuse } from './family.ts';
import { readRopeKeys, ropeConfig } from './rope-keys.ts';

type GqaKeys = HeadKeys & { num_experts?: number | null | undefined; num_local_experts?: number | null | undefined };

interface GqaChoices extends Pick<GqaConfig, 'qkNorm' | 'clipQkv'> {
  moeIntermediateSize: number;
  /** One for each layer; by default all layers have experts. */
  layerKinds?: readonly LayerKind[];
  normTopkProb: boolean;
}

/** The config of a family with grouped-query attention, RoPE over halves, no shared experts and no MTP module. */
export function gqaModelConfig(modelType: ModelType, raw: GqaKeys, choices: GqaChoices, where: string): ModelConfig {
  const { moeIntermediateSize, layerKinds, normTopkProb, ...attentionChoices } = choices;
  const nRoutedExperts = readNumExperts(raw, where);
  const attention = gqaConfig(raw, attentionChoices, where);
  return {
    modelType,
    ...commonConfig(raw, where),
    moeIntermediateSize,
    sharedIntermediateSize: 0,
    sharedExpertGate: false,
    expert: { activation: 'swiglu', bias: false },
    layerKinds: layerKinds ?? Array.from({ length: raw.num_hidden_layers }, () => 'moe'),
    layerAttention: fullAttention(raw.num_hidden_layers),
    nRoutedExperts,
    attention,
    rope: ropeConfig(readRopeKeys(raw, where), attention.headDim, 'halves'),
    gate: softmaxGate(normTopkProb),
    numNextnPredictLayers: 0,
    mtpHidden: 'after-norm',
  };
}

/** The gate of the families without groups: softmax over all experts, top k, weights normalised or not. */
function softmaxGate(normTopkProb: boolean): GateConfig {
  return {
    scoring: 'softmax',
    hasBias: false,
    hasLogitBias: false,
    scalesInput: false,
    nGroup: 1,
    topkGroup: 1,
    groupScore: 'max',
    normTopkProb,
    scaleWhenNormalised: false,
    routedScalingFactor: 1,
  };
}

type HeadKeys = CommonKeys & { num_key_value_heads: number; head_dim?: number | null | undefined };

/** Checks the heads against each other. `head_dim` defaults to hidden_size / num_attention_heads. */
function gqaConfig(raw: HeadKeys, choices: Pick<GqaConfig, 'qkNorm' | 'clipQkv'>, where: string): GqaConfig {
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
    normAfterRope: false,
    bias: { qkv: false, o: false },
    sinks: false,
    temperature: null,
    softmaxScale: 1 / Math.sqrt(headDim),
  };
}

/** The number of experts is published under either name; newer tools write Qwen3's under Mixtral's. */
export const numExpertsKeys = { num_experts: expertCount.nullish(), num_local_experts: expertCount.nullish() };

/** Routed experts per MoE layer; at least `num_experts_per_tok`. */
function readNumExperts(raw: GqaKeys, where: string): number {
  const { num_experts: numExperts, num_local_experts: numLocalExperts } = raw;
  const count = numExperts ?? numLocalExperts;
  if (count === undefined || count === null) {
    const message = `${where}: num_experts (or num_local_experts) is missing: add it as in the published config`;
    throw new ModelError('missing-key', 'num_experts', message);
  }
  refuse(raw, where, (numLocalExperts ?? count) !== count, 'num_local_experts', `num_experts is ${count}`);
  refuse(raw, where, raw.num_experts_per_tok > count, 'num_experts_per_tok', `there are only ${count} experts`);
  return count;
}
