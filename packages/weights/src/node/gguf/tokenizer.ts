import { z } from 'zod';
import { WeightsError } from '../../errors.ts';
import type { GgufValue } from './writer.ts';

/** The types of llama.cpp's `llama_token_type` that a byte-level BPE vocabulary has. */
const TOKEN_TYPES = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;

const tokenizerSchema = z.looseObject({
  pre_tokenizer: z.looseObject({ type: z.string(), use_regex: z.boolean().default(true) }).nullish(),
  added_tokens: z.array(z.looseObject({ id: z.int().min(0), content: z.string(), special: z.boolean() })).default([]),
  model: z.looseObject({
    type: z.literal('BPE'),
    vocab: z.record(z.string(), z.int().min(0)),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
});

export interface TokenizerIds {
  vocabSize: number;
  bosTokenId: number | null;
  eosTokenId: number;
  addBosToken: boolean;
}

/**
 * Translates a byte-level BPE tokenizer.json to llama.cpp's `gpt2` tokenizer. `vocabSize` is the model's; ids that the tokenizer
 * lacks become unused tokens. Throws WeightsError `bad-model` for another kind of tokenizer, or if it splits words unlike GPT-2.
 */
export function tokenizerMetadata(tokenizerJson: unknown, ids: TokenizerIds): Map<string, GgufValue> {
  const parsed = tokenizerSchema.safeParse(tokenizerJson);
  if (!parsed.success) {
    throw new WeightsError('bad-model', `tokenizer.json is not byte-level BPE: ${parsed.error.issues[0]!.message}`);
  }
  const { pre_tokenizer: pre, model, added_tokens: added } = parsed.data;
  if (pre?.type !== 'ByteLevel' || !pre.use_regex) {
    const supported = "this export supports only GPT-2's ByteLevel";
    throw new WeightsError('bad-model', `tokenizer.json splits words by ${pre?.type ?? 'nothing'}; ${supported}`);
  }
  const tokens = Array.from({ length: ids.vocabSize }, (_, id) => `[PAD${id}]`);
  const types: number[] = tokens.map(() => TOKEN_TYPES.unused);
  for (const [token, id] of Object.entries(model.vocab)) {
    tokens[id] = token;
    types[id] = TOKEN_TYPES.normal;
  }
  for (const { id, content, special } of added) {
    tokens[id] = content;
    types[id] = special ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined;
  }
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: 'gpt-2' }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: types }],
    [
      'tokenizer.ggml.merges',
      { type: 'strings', value: model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))) },
    ],
    ...(ids.bosTokenId === null
      ? []
      : [['tokenizer.ggml.bos_token_id', { type: 'u32', value: ids.bosTokenId }] as [string, GgufValue]]),
    ['tokenizer.ggml.eos_token_id', { type: 'u32', value: ids.eosTokenId }],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: ids.addBosToken }],
  ]);
}
