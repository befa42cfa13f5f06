import { z } from 'zod';
import type { AttentionSpan } from '../model-config.ts';
import {
  commonKeys,
  dimension,
  expertCount,
  type Family,
  layerCount,
  refuse,
  refuseAttentionBias,
  refuseUnsupportedCommon,
  storedAsNamed,
} from './family.ts';
import { noauxGate, noauxKeys, refuseGroups } from './gates.ts';
import { gqaModelConfig, headKeys } from './gqa.ts';
import { denseFirst, readLayerTypes, spanKeys, spanOf, withRope } from './layer-types.ts';

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...noauxKeys,
  ...spanKeys,
  n_group: expertCount.default(1),
  topk_group: expertCount.default(1),
  moe_intermediate_size: dimension,
  moe_layer_freq: z.literal(1).default(1),
  first_k_dense_replace: layerCount,
  n_routed_experts: expertCount,
  n_shared_experts: layerCount.nullable(),
  max_window_layers: layerCount.nullish(),
});

/** dots.llm1 (paper 2506.05767): Qwen3's attention with DeepSeek-V3's gate. */
export const dots1: Family<typeof schema> = {
  modelType: 'dots1',
  architectures: ['Dots1ForCausalLM'],
  schema,
  ignoredKeys: ['use_sliding_window'],
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    refuseAttentionBias(raw, where);
    const { num_hidden_layers: layers, first_k_dense_replace: first } = raw;
    refuse(raw, where, first > layers, 'first_k_dense_replace', `num_hidden_layers is ${layers}`);
    // Published configs have the name of the method in the place of its scoring.
    const scoring = raw.scoring_func === 'noaux_tc' ? 'sigmoid' : raw.scoring_func;
    const gate = noauxGate({ ...raw, scoring_func: scoring }, where);
    refuseGroups(raw, gate, where);
    return gqaModelConfig(
      'dots1',
      { ...raw, num_experts: raw.n_routed_experts },
      {
        moeIntermediateSize: raw.moe_intermediate_size,
        sharedIntermediateSize: (raw.n_shared_experts ?? 0) * raw.moe_intermediate_size,
        gate,
        attention: { qkNorm: 'per-head' },
        layerKinds: denseFirst(layers, first),
        layerAttention: withRope(readLayerTypes(raw, where) ?? lastWindowed(raw)),
      },
      where,
    );
  },
};

/** Layers from `max_window_layers` on have the window. */
function lastWindowed(raw: z.infer<typeof schema>): AttentionSpan[] {
  const { num_hidden_layers: layers, max_window_layers: full, sliding_window: window } = raw;
  return Array.from({ length: layers }, (_, layer) =>
    window && layer >= (full ?? layers) ? spanOf('window', window, raw) : { kind: 'full' },
  );
}
