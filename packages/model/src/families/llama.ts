import { z } from 'zod';
import { denseKeys, type Family, headCount, refuseUnsupportedCommon, storedAsNamed } from './family.ts';
import { denseModelConfig, headKeys } from './gqa.ts';

const schema = z.object({
  ...denseKeys,
  ...headKeys,
  // Llama 1 has none: every query head has a key head.
  num_key_value_heads: headCount.nullish(),
});

/** Llama 1 to 3.3 (papers 2302.13971, 2307.09288, 2407.21783), and the many models of other names with the same architecture. */
export const llama: Family<typeof schema> = {
  modelType: 'llama',
  isDense: true,
  architectures: ['LlamaForCausalLM'],
  schema,
  ignoredKeys: [],
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    const { attention_bias: bias, num_key_value_heads: kvHeads, num_attention_heads: heads } = raw;
    const keys = { ...raw, num_key_value_heads: kvHeads ?? heads };
    return denseModelConfig('llama', keys, { attention: { bias: { qkv: bias, o: bias } } }, where);
  },
};
