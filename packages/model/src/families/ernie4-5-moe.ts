import { z } from 'zod';
import type { LayerKind } from '../model-config.ts';
import {
  commonKeys,
  dimension,
  expertCount,
  type Family,
  layerCount,
  refuse,
  refuseAttentionBias,
  refuseUnsupportedCommon,
  type StoredAt,
} from './family.ts';
import { softmaxGate } from './gates.ts';
import { gqaModelConfig, headKeys } from './gqa.ts';

const { num_experts_per_tok: _, ...withoutTopK } = commonKeys;

/** The published code divides by at least this, which no sum of chosen probabilities is as small as. */
const MAX_NORM_MIN = 1e-9;

const schema = z.object({
  ...withoutTopK,
  ...headKeys,
  tie_word_embeddings: z.boolean().default(true),
  moe_intermediate_size: dimension,
  moe_num_experts: expertCount,
  moe_k: expertCount,
  moe_num_shared_experts: layerCount.nullish(),
  moe_layer_start_index: layerCount,
  /** −1 is the last layer. */
  moe_layer_end_index: z.int().min(-1).max(1024).default(-1),
  moe_layer_interval: z.int().min(1).max(1024).default(1),
  moe_norm_min: z.number().min(0).max(MAX_NORM_MIN).optional(),
  moe_use_aux_free: z.boolean().default(true),
  // What all models of this family have.
  moe_gate: z.literal('topk').optional(),
  moe_gate_act: z.literal('softmax').optional(),
  use_rmsnorm: z.literal(true).optional(),
  use_bias: z.literal(false).optional(),
  compression_ratio: z.literal(1).optional(),
});

type Raw = z.infer<typeof schema>;

/** ERNIE-4.5-21B-A3B and 300B-A47B (technical report of 2025): probabilities with a bias for the selection. */
export const ernie45Moe: Family<typeof schema> = {
  modelType: 'ernie4_5_moe',
  architectures: ['Ernie4_5_MoeForCausalLM'],
  schema,
  // Of training, and of an MTP module unlike DeepSeek's, which is not computed.
  ignoredKeys: ['moe_capacity', 'num_nextn_predict_layers'],
  ignoredTensors: [/^model\.mtp_/],
  storedAt,
  toConfig: (raw, where) => {
    const { moe_k: topK, moe_num_experts: experts } = raw;
    const keys = { ...raw, num_experts_per_tok: topK, num_experts: experts };
    refuseUnsupportedCommon(keys, where);
    refuseAttentionBias(keys, where);
    refuse(raw, where, topK > experts, 'moe_k', `moe_num_experts is only ${experts}`);
    return gqaModelConfig(
      'ernie4_5_moe',
      keys,
      {
        moeIntermediateSize: raw.moe_intermediate_size,
        sharedIntermediateSize: (raw.moe_num_shared_experts ?? 0) * raw.moe_intermediate_size,
        gate: softmaxGate({ hasBias: raw.moe_use_aux_free }),
        pairs: 'interleaved',
        layerKinds: layerKinds(raw),
      },
      where,
    );
  },
};

/** Every `moe_layer_interval`-th layer, counted from 1, has experts, from the start index to the end index. */
function layerKinds(raw: Raw): LayerKind[] {
  const { num_hidden_layers: layers, moe_layer_start_index: first, moe_layer_end_index: end } = raw;
  const last = end < 0 ? layers - 1 : end;
  return Array.from({ length: layers }, (_, layer) =>
    (layer + 1) % raw.moe_layer_interval === 0 && layer >= first && layer <= last ? 'moe' : 'dense',
  );
}

/** The gate's bias is a matrix of one row. */
function storedAt(name: string): StoredAt {
  const bias = '.mlp.gate.e_score_correction_bias';
  if (!name.endsWith(bias)) return { name };
  return { name: name.replace(bias, '.mlp.moe_statics.e_score_correction_bias'), index: 0, of: 1 };
}
