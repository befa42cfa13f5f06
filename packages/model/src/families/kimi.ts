import { deepseekIgnoredKeys } from './deepseek.ts';
import { deepseekV3Config, deepseekV3Schema } from './deepseek-v3.ts';
import { type Family, storedAsNamed } from './family.ts';

type Schema = typeof deepseekV3Schema;

/** Kimi K2 (paper 2507.20534): DeepSeek-V3 under its own name. */
export const kimiK2: Family<Schema> = {
  modelType: 'kimi_k2',
  architectures: ['DeepseekV3ForCausalLM'],
  schema: deepseekV3Schema,
  ignoredKeys: deepseekIgnoredKeys,
  storedAt: storedAsNamed,
  toConfig: (raw, where) => deepseekV3Config('kimi_k2', raw, where),
};

/** The text model of Kimi K2.5 and its successors, which see. */
export const kimiK25: Family<Schema> = {
  modelType: 'kimi_k25',
  // As published, and as transformers writes it.
  architectures: ['KimiK25ForConditionalGeneration', 'Kimi_K25ForConditionalGeneration'],
  textConfig: {
    key: 'text_config',
    modelTypes: ['deepseek_v3', 'kimi_k2'],
    outside: ['bos_token_id', 'eos_token_id', 'quantization_config', 'tie_word_embeddings'],
    ignoredKeys: [
      'ignore_index',
      'image_token_id',
      'media_placeholder_token_id',
      'projection_hidden_size',
      'projection_layer_norm_eps',
      'use_unified_vision_chunk',
      'video_placeholder',
      'video_token_id',
      'vision_config',
      'vision_end_token_id',
      'vision_start_token_id',
    ],
  },
  schema: deepseekV3Schema,
  ignoredKeys: deepseekIgnoredKeys,
  storedAt: (name) => ({ name: `language_model.${name}` }),
  ignoredTensors: [/^vision_tower\./, /^mm_projector\./],
  toConfig: (raw, where) => deepseekV3Config('kimi_k25', raw, where),
};
