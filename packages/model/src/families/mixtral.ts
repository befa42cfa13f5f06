import { z } from 'zod';
import type { AttentionSpan } from '../model-config.ts';
import { commonKeys, type Family, refuseAttentionBias, refuseUnsupportedCommon, type StoredAt } from './family.ts';
import { softmaxGate } from './gates.ts';
import { gqaModelConfig, headKeys, numExpertsKeys } from './gqa.ts';
import { positions, spanOf, withRope } from './layer-types.ts';

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...numExpertsKeys,
  sliding_window: positions.nullish(),
});

const MATRICES: Readonly<Record<string, string>> = { gate_proj: 'w1', up_proj: 'w3', down_proj: 'w2' };

/** The names of Mixtral's checkpoints. */
export const storedAsMixtral = (name: string): StoredAt => ({
  name: name
    .replace('.mlp.', '.block_sparse_moe.')
    .replace(/(?<=\.experts\.\d+\.)(gate|up|down)_proj/, (part) => MATRICES[part]!),
});

/** Mixtral-8x7B and 8x22B (paper 2401.04088): every layer has experts, as wide as `intermediate_size`. */
export const mixtral: Family<typeof schema> = {
  modelType: 'mixtral',
  architectures: ['MixtralForCausalLM'],
  schema,
  ignoredKeys: [],
  storedAt: storedAsMixtral,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    refuseAttentionBias(raw, where);
    const { sliding_window: window, num_hidden_layers: layers } = raw;
    const span: AttentionSpan = window ? spanOf('window', window, raw) : { kind: 'full' };
    return gqaModelConfig(
      'mixtral',
      raw,
      {
        moeIntermediateSize: raw.intermediate_size,
        gate: softmaxGate(),
        layerAttention: withRope(Array.from({ length: layers }, () => span)),
      },
      where,
    );
  },
};
