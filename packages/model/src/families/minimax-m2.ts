import { z } from 'zod';
import {
  commonKeys,
  dimension,
  type Family,
  refuse,
  refuseAttentionBias,
  refuseUnsupportedCommon,
  unsupported,
} from './family.ts';
import { sigmoidGate } from './gates.ts';
import { gqaModelConfig, headKeys, numExpertsKeys } from './gqa.ts';
import { refuseLength } from './layer-types.ts';
import { storedAsMixtral } from './mixtral.ts';

/** The ids of the published tokenizer, which the published config leaves to the code. */
const BOS = 200_034;
const EOS = 200_020;

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...numExpertsKeys,
  bos_token_id: commonKeys.bos_token_id.default(BOS),
  eos_token_id: commonKeys.eos_token_id.default(EOS),
  rotary_dim: dimension.nullish(),
  /** 1 for each layer with softmax attention; 0 is linear attention. */
  attn_type_list: z.array(z.int()).max(1024).nullish(),
  scoring_func: z.literal('sigmoid').default('sigmoid'),
  use_routing_bias: z.boolean().default(true),
  // What all models of this family have.
  use_qk_norm: z.literal(true).default(true),
  qk_norm_type: z.literal('per_layer').default('per_layer'),
  shared_intermediate_size: z.literal(0).default(0),
});

/** MiniMax-M2, M2.1, M2.5 and M2.7: every layer has experts, as wide as `intermediate_size`. */
export const minimaxM2: Family<typeof schema> = {
  modelType: 'minimax_m2',
  architectures: ['MiniMaxM2ForCausalLM'],
  schema,
  ignoredKeys: [
    // Of MTP modules, which are not published.
    'mtp_transformer_layers',
    'num_mtp_modules',
    'use_mtp',
    // Of dense layers, which this family doesn't have.
    'mlp_intermediate_size',
  ],
  storedAt: (name) => storedAsMixtral(name.replace('.gate.e_score_correction_bias', '.e_score_correction_bias')),
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    refuseAttentionBias(raw, where);
    const { attn_type_list: types, rotary_dim: rotaryDim } = raw;
    if (types) refuseLength(raw, where, 'attn_type_list', types.length);
    if (types?.some((type) => type !== 1)) {
      throw unsupported(
        where,
        'attn_type_list',
        'has layers other than 1; this version computes softmax attention only',
      );
    }
    const config = gqaModelConfig(
      'minimax_m2',
      raw,
      {
        moeIntermediateSize: raw.intermediate_size,
        gate: sigmoidGate({ hasBias: raw.use_routing_bias, normTopkProb: true }),
        attention: { qkNorm: 'whole' },
        partialRotaryFactor: rotaryShare(raw),
      },
      where,
    );
    const { dim } = config.rope;
    refuse(raw, where, (rotaryDim ?? dim) !== dim, 'rotary_dim', `partial_rotary_factor makes it ${dim}: keep one`);
    return config;
  },
};

/** The share of a head that is rotated by `rotary_dim`; all of it without that key. */
function rotaryShare(raw: z.infer<typeof schema>): number {
  const headDim = raw.head_dim ?? raw.hidden_size / raw.num_attention_heads;
  return raw.rotary_dim ? raw.rotary_dim / headDim : 1;
}
