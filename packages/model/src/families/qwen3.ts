import { z } from 'zod';
import { denseKeys, type Family, refuseUnsupportedCommon, storedAsNamed } from './family.ts';
import { denseModelConfig, headKeys } from './gqa.ts';
import { readLayerTypes, refuseUnlistedWindow, spanKeys, withRope } from './layer-types.ts';

const schema = z.object({
  ...denseKeys,
  ...headKeys,
  ...spanKeys,
  use_sliding_window: z.boolean().default(false),
});

/** Qwen3-0.6B to 32B (paper 2505.09388). */
export const qwen3: Family<typeof schema> = {
  modelType: 'qwen3',
  isDense: true,
  architectures: ['Qwen3ForCausalLM'],
  schema,
  // It has no effect without use_sliding_window, nor beside layer_types.
  ignoredKeys: ['max_window_layers'],
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    const spans = readLayerTypes(raw, where);
    if (!spans) refuseUnlistedWindow(raw, where);
    const { attention_bias: bias } = raw;
    return denseModelConfig(
      'qwen3',
      raw,
      {
        attention: { qkNorm: 'per-head', bias: { qkv: bias, o: bias } },
        ...(spans && { layerAttention: withRope(spans) }),
      },
      where,
    );
  },
};
