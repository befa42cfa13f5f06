import { z } from 'zod';
import { ModelError } from './errors.ts';
import { parseJson } from './json-file.ts';
import type { ModelConfig } from './model-config.ts';
import { type ModelFolder, textIn } from './model-folder.ts';

/** Where the longest text that a model was made for is published, which is often shorter than what its positions allow. */
const PLACES = [
  ['sentence_bert_config.json', 'max_seq_length'],
  ['tokenizer_config.json', 'model_max_length'],
] as const;

/** transformers writes 1e30 where there is no limit. */
const limit = z.number().positive().nullish();

/** An encoder's config with the context that its other files allow. Throws a ModelError. */
export async function withEncoderLimit(folder: ModelFolder, config: ModelConfig): Promise<ModelConfig> {
  let { maxPositionEmbeddings } = config;
  for (const [name, key] of PLACES) {
    const file = await textIn(folder, name);
    if (!file) continue;
    const parsed = limit.safeParse((parseJson(file) as Record<string, unknown> | null)?.[key]);
    if (!parsed.success) {
      const problem = `${file.path}: ${key}: ${parsed.error.issues[0]!.message}; take the file from the model's own repository`;
      throw new ModelError('bad-value', key, problem);
    }
    maxPositionEmbeddings = Math.min(maxPositionEmbeddings, Math.max(1, Math.floor(parsed.data ?? Infinity)));
  }
  return { ...config, maxPositionEmbeddings };
}
