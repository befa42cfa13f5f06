import { z } from 'zod';
import { CLAMP_LIMIT, CLAMPED_ALPHA } from '../expert.ts';
import type { AttentionSpan } from '../model-config.ts';
import { expertPart } from './expert-names.ts';
import { commonKeys, expertCount, type Family, refuse, refuseUnsupportedCommon, type StoredAt } from './family.ts';
import { softmaxGate } from './gates.ts';
import { gqaModelConfig, headKeys, numExpertsKeys } from './gqa.ts';
import { positions, readLayerTypes, spanKeys, spanOf, withRope } from './layer-types.ts';

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...numExpertsKeys,
  ...spanKeys,
  // The same number twice in the published configs.
  experts_per_token: expertCount.nullish(),
  attention_bias: z.boolean().default(true),
  sliding_window: positions,
  swiglu_limit: z.literal(CLAMP_LIMIT).default(CLAMP_LIMIT),
  swiglu_alpha: z.literal(CLAMPED_ALPHA).default(CLAMPED_ALPHA),
});

/** gpt-oss-20b and 120b (model card 2508.10925): every layer has experts, as wide as `intermediate_size`. */
export const gptOss: Family<typeof schema> = {
  modelType: 'gpt_oss',
  architectures: ['GptOssForCausalLM'],
  schema,
  // That of RoPE's keys is what counts.
  ignoredKeys: ['initial_context_length'],
  storedAt,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    const perToken = raw.num_experts_per_tok;
    const { experts_per_token: other, attention_bias: bias } = raw;
    refuse(raw, where, (other ?? perToken) !== perToken, 'experts_per_token', `num_experts_per_tok is ${perToken}`);
    return gqaModelConfig(
      'gpt_oss',
      raw,
      {
        moeIntermediateSize: raw.intermediate_size,
        expert: { activation: 'clamped-swiglu', bias: true },
        gate: softmaxGate({ hasLogitBias: true }),
        attention: { bias: { qkv: bias, o: bias }, sinks: true },
        layerAttention: withRope(readLayerTypes(raw, where) ?? alternating(raw)),
      },
      where,
    );
  },
};

/** Every second layer, beginning with the first, has the window. */
function alternating(raw: z.infer<typeof schema>): AttentionSpan[] {
  return Array.from({ length: raw.num_hidden_layers }, (_, layer) =>
    layer % 2 === 0 ? spanOf('window', raw.sliding_window, raw) : { kind: 'full' },
  );
}

/** A layer's experts are stacked, and rows of gate and up take turns. Matrices are stored as [inputs, outputs]. */
function storedAt(name: string): StoredAt {
  const found = expertPart(name);
  if (!found) return { name: name.replace('.mlp.gate.', '.mlp.router.') };
  const { layer, expert, part, kind } = found;
  const whole = `${layer}mlp.experts.${part === 'down' ? 'down_proj' : 'gate_up_proj'}`;
  return {
    name: kind === 'bias' ? `${whole}_bias` : whole,
    index: expert,
    ...(part !== 'down' && { rows: { first: part === 'gate' ? 0 : 1, step: 2 } }),
    ...(kind === 'weight' && { transposed: true }),
  };
}
