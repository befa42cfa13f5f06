import { z } from 'zod';
import {
  commonKeys,
  dimension,
  expertCount,
  type Family,
  layerCount,
  refuse,
  refuseAttentionBias,
  refuseUnsupportedCommon,
  unsupported,
} from './family.ts';
import { softmaxGate } from './gates.ts';
import { gqaModelConfig, headKeys } from './gqa.ts';

const { num_experts_per_tok: _, ...withoutTopK } = commonKeys;

/** One number for all layers, or a list of them. */
const perLayer = <S extends z.ZodType<number>>(one: S) => z.union([one, z.array(one).min(1).max(1024)]);

const schema = z.object({
  ...withoutTopK,
  ...headKeys,
  attention_head_dim: dimension.nullish(),
  num_experts: perLayer(expertCount),
  moe_topk: perLayer(expertCount),
  moe_intermediate_size: perLayer(dimension).nullish(),
  num_shared_expert: perLayer(layerCount).default(1),
  norm_topk_prob: z.literal(true).optional(),
  routed_scaling_factor: z.literal(1).optional(),
  // What all models of this family have.
  use_mixed_mlp_moe: z.literal(true).optional(),
  use_qk_norm: z.literal(true).optional(),
  use_rotary_pos_emb: z.literal(true).optional(),
  moe_layer_num_skipped: z.literal(0).optional(),
  norm_type: z.literal('rms').optional(),
});

type Raw = z.infer<typeof schema>;

/** Hunyuan-A13B: norms of queries and keys after RoPE, a shared expert in every layer. */
export const hunyuanV1Moe: Family<typeof schema> = {
  modelType: 'hunyuan_v1_moe',
  architectures: ['HunYuanMoEV1ForCausalLM'],
  schema,
  ignoredKeys: [
    // Of choices that are off: shared keys and values (use_cla), a classifier.
    'cla_share_factor',
    'class_num',
    'dense_list',
    'pool_type',
    // Of tokens that the tokenizer knows, and of images.
    'anyres_pooling_size',
    'eod_token_id',
    'im_end_id',
    'im_newline_id',
    'im_start_id',
    'image_token_id',
    'mask_init_id',
    'num_media_embeds',
    'org_vocab_size',
    'pad_id',
    'sep_token_id',
    'text_end_id',
    'text_start_id',
    'video_end_id',
    'video_start_id',
  ],
  storedAt: (name) => ({
    name: name
      .replace('.self_attn.q_norm.', '.self_attn.query_layernorm.')
      .replace('.self_attn.k_norm.', '.self_attn.key_layernorm.')
      .replace('.mlp.gate.weight', '.mlp.gate.wg.weight')
      .replace('.mlp.shared_experts.', '.mlp.shared_mlp.'),
  }),
  toConfig: (raw, where) => {
    const topK = uniform(raw, 'moe_topk', where);
    const keys = { ...raw, num_experts_per_tok: topK, num_experts: uniform(raw, 'num_experts', where) };
    refuseUnsupportedCommon(keys, where);
    refuseAttentionBias(keys, where);
    refuse(raw, where, topK > keys.num_experts, 'moe_topk', `num_experts is only ${keys.num_experts}`);
    const { head_dim: headDim, attention_head_dim: other } = raw;
    const differ = headDim != null && other != null && headDim !== other;
    refuse(raw, where, differ, 'attention_head_dim', `head_dim is ${headDim}`);
    return gqaModelConfig(
      'hunyuan_v1_moe',
      { ...keys, head_dim: headDim ?? other },
      {
        moeIntermediateSize: raw.moe_intermediate_size
          ? uniform(raw, 'moe_intermediate_size', where)
          : raw.intermediate_size,
        sharedIntermediateSize: uniform(raw, 'num_shared_expert', where) * raw.intermediate_size,
        gate: softmaxGate(),
        attention: { qkNorm: 'per-head', normAfterRope: true },
      },
      where,
    );
  },
};

type PerLayerKey = 'num_experts' | 'moe_topk' | 'moe_intermediate_size' | 'num_shared_expert';

/** The one value of all layers. Throws `unsupported` if they differ. */
function uniform(raw: Raw, key: PerLayerKey, where: string): number {
  const values = [raw[key] ?? []].flat();
  const first = values[0]!;
  if (values.some((value) => value !== first)) {
    throw unsupported(where, key, 'differs between layers; this version computes one value for all of them');
  }
  return first;
}
