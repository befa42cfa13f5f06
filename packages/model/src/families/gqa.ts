import { ModelError } from '../errors.ts';
import type { GqaConfig, ModelConfig, ModelType, RopeConfig } from '../model-config.ts';
import { commonConfig, type CommonKeys, dimension, expertCount, fullAttention, headCount, refuse } from './family.ts';
import { softmaxGate } from './gates.ts';
import { readRopeKeys, refusePartialRotary, ropeConfig } from './rope-keys.ts';

/** The keys of the heads. */
export const headKeys = { num_key_value_heads: headCount, head_dim: dimension.nullish() };

type HeadKeys = CommonKeys & { num_key_value_heads: number; head_dim?: number | null | undefined };

/** The number of experts is published under either name; newer tools write Qwen3's under Mixtral's. */
export const numExpertsKeys = { num_experts: expertCount.nullish(), num_local_experts: expertCount.nullish() };

export type GqaKeys = HeadKeys & {
  num_experts?: number | null | undefined;
  num_local_experts?: number | null | undefined;
};

/**
 * What a family's models have unlike plain ones, whose attention is over all positions, with RoPE over halves of whole heads, and
 * whose layers all have experts and no shared one.
 */
export interface GqaChoices
  extends
    Pick<ModelConfig, 'gate' | 'moeIntermediateSize'>,
    Partial<Omit<ModelConfig, 'modelType' | 'attention' | 'rope' | 'gate' | 'moeIntermediateSize'>> {
  attention?: Partial<GqaConfig>;
  pairs?: RopeConfig['pairs'];
  /** The share of a head that is rotated where no key says; undefined in families that have no such key. */
  partialRotaryFactor?: number;
}

export function gqaModelConfig(modelType: ModelType, raw: GqaKeys, choices: GqaChoices, where: string): ModelConfig {
  return build(modelType, raw, { nRoutedExperts: readNumExperts(raw, where), ...choices }, where);
}

/** A model without experts, whose layers all have an FFN as wide as `intermediate_size`. */
export function denseModelConfig(
  modelType: ModelType,
  raw: Omit<HeadKeys, 'num_experts_per_tok'>,
  choices: Omit<GqaChoices, 'gate' | 'moeIntermediateSize'>,
  where: string,
): ModelConfig {
  const layerKinds = Array.from({ length: raw.num_hidden_layers }, () => 'dense' as const);
  const noExperts = { gate: softmaxGate(), moeIntermediateSize: 0, nRoutedExperts: 0, layerKinds };
  return build(modelType, { ...raw, num_experts_per_tok: 0 }, { ...noExperts, ...choices }, where);
}

function build(
  modelType: ModelType,
  raw: HeadKeys,
  choices: GqaChoices & Pick<ModelConfig, 'nRoutedExperts'>,
  where: string,
): ModelConfig {
  const { attention: attentionChoices, pairs, partialRotaryFactor, ...rest } = choices;
  const numLayers = raw.num_hidden_layers + (rest.numNextnPredictLayers ?? 0);
  const attention = gqaConfig(raw, attentionChoices, where);
  return {
    modelType,
    ...commonConfig(raw, where),
    sharedIntermediateSize: 0,
    sharedExpertGate: false,
    expert: { activation: 'swiglu', bias: false },
    layerKinds: Array.from({ length: numLayers }, () => 'moe'),
    layerAttention: fullAttention(numLayers),
    attention,
    rope: gqaRope(raw, attention.headDim, { pairs, partialRotaryFactor }, where),
    numNextnPredictLayers: 0,
    mtpHidden: 'after-norm',
    ...rest,
  };
}

/** Checks the heads against each other. `head_dim` defaults to hidden_size / num_attention_heads. */
function gqaConfig(raw: HeadKeys, choices: Partial<GqaConfig> | undefined, where: string): GqaConfig {
  const { hidden_size: hiddenSize, num_attention_heads: heads, num_key_value_heads: kvHeads } = raw;
  const headDim = raw.head_dim ?? hiddenSize / heads;
  const check = (wrong: boolean, key: keyof HeadKeys, detail: string): void => refuse(raw, where, wrong, key, detail);
  check(!Number.isInteger(headDim), 'num_attention_heads', `hidden_size ${hiddenSize} is not a multiple of it`);
  check(heads % kvHeads !== 0, 'num_key_value_heads', `num_attention_heads ${heads} is not a multiple of it`);
  return {
    kind: 'gqa',
    numAttentionHeads: heads,
    numKeyValueHeads: kvHeads,
    headDim,
    qkNorm: 'none',
    normAfterRope: false,
    bias: { qkv: false, o: false },
    sinks: false,
    temperature: null,
    clipQkv: null,
    softmaxScale: 1 / Math.sqrt(headDim),
    ...choices,
  };
}

function gqaRope(
  raw: HeadKeys,
  headDim: number,
  {
    pairs = 'halves',
    partialRotaryFactor,
  }: { pairs: RopeConfig['pairs'] | undefined; partialRotaryFactor: number | undefined },
  where: string,
): RopeConfig {
  const keys = readRopeKeys(raw, where);
  if (partialRotaryFactor === undefined) refusePartialRotary(keys, where);
  const factor = keys.partialRotaryFactor ?? partialRotaryFactor ?? 1;
  const dim = Math.floor(headDim * factor);
  const key = factor < 1 ? 'partial_rotary_factor' : raw.head_dim ? 'head_dim' : 'num_attention_heads';
  refuse(raw, where, dim < 2 || dim % 2 !== 0, key, `RoPE rotates pairs, and it would rotate ${dim} values of a head`);
  return ropeConfig(keys, dim, pairs);
}

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

/** Attention with a key and a value for each head, without norms of them. */
export function plainAttention(heads: number, headDim: number, bias: boolean, softmaxScale: number): GqaConfig {
  return {
    kind: 'gqa',
    numAttentionHeads: heads,
    numKeyValueHeads: heads,
    headDim,
    qkNorm: 'none',
    normAfterRope: false,
    bias: { qkv: bias, o: bias },
    sinks: false,
    temperature: null,
    clipQkv: null,
    softmaxScale,
  };
}
