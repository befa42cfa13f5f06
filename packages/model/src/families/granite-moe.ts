import { z } from 'zod';
import type { ModelConfig } from '../model-config.ts';
import { expertPart } from './expert-names.ts';
import {
  commonKeys,
  type Family,
  positive,
  refuseAttentionBias,
  refuseUnsupportedCommon,
  type StoredAt,
} from './family.ts';
import { softmaxGate } from './gates.ts';
import { gqaModelConfig, headKeys, numExpertsKeys } from './gqa.ts';

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...numExpertsKeys,
  attention_multiplier: positive.default(1),
  embedding_multiplier: positive.default(1),
  residual_multiplier: positive.default(1),
  logits_scaling: positive.default(1),
});

/** Granite 3.0 and 3.1 1B-A400M and 3B-A800M: every layer has experts, as wide as `intermediate_size`. */
export const graniteMoe: Family<typeof schema> = {
  modelType: 'granitemoe',
  architectures: ['GraniteMoeForCausalLM'],
  schema,
  ignoredKeys: [],
  storedAt,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    refuseAttentionBias(raw, where);
    return gqaModelConfig(
      'granitemoe',
      raw,
      {
        moeIntermediateSize: raw.intermediate_size,
        gate: softmaxGate(),
        attention: { softmaxScale: raw.attention_multiplier },
        embeddingMultiplier: raw.embedding_multiplier,
        residualMultiplier: raw.residual_multiplier,
        logitsDivisor: raw.logits_scaling,
      },
      where,
    );
  },
};

/** A layer's experts are stacked, and gate and up are one matrix, one after the other. */
function storedAt(name: string, { moeIntermediateSize }: ModelConfig): StoredAt {
  const found = expertPart(name);
  if (!found) return { name: name.replace('.mlp.gate.', '.block_sparse_moe.router.layer.') };
  const { layer, expert, part } = found;
  return {
    name: `${layer}block_sparse_moe.${part === 'down' ? 'output_linear' : 'input_linear'}.weight`,
    index: expert,
    ...(part !== 'down' && { rows: { first: part === 'gate' ? 0 : moeIntermediateSize, step: 1 } }),
  };
}
