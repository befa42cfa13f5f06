import { z } from 'zod';
import { MAX_TOKEN_BYTES } from '../tiktoken-model.ts';
import type { Metadata } from './metadata.ts';
import { PRE_TOKENIZERS, type PreTokenizer } from './pre-tokenizers.ts';
import { mergesOfScores } from './sentence-piece.ts';

/** llama.cpp's `llama_token_type`. */
const TYPE = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** Hugging Face's files of a tokenizer, as JSON values. */
export interface TokenizerJson {
  tokenizer: Record<string, unknown>;
  config: Record<string, unknown>;
  bosTokenId: number | null;
  /** Any of these ends a text; at least one. */
  eosTokenIds: number[];
}

interface Vocabulary {
  tokens: readonly string[];
  /** By id. */
  types: readonly number[];
}

/** Makes a tokenizer's files from GGUF's metadata. Throws a CheckpointError, naming the key, for what is not supported. */
export function tokenizerJson(metadata: Metadata): TokenizerJson {
  const vocabulary = readVocabulary(metadata);
  const model = metadata.get('tokenizer.ggml.model', z.string());
  const isSentencePiece = model === 'llama';
  if (!isSentencePiece && model !== 'gpt2') {
    throw metadata.bad(
      'tokenizer.ggml.model',
      `is "${model}"; this version reads "gpt2" (byte-level BPE) and "llama" (SentencePiece)`,
    );
  }
  const pre = isSentencePiece ? undefined : preTokenizerOf(metadata);
  const bosTokenId = idOf(metadata, vocabulary, 'bos') ?? (isSentencePiece ? 1 : null);
  const addBos = metadata.find('tokenizer.ggml.add_bos_token', z.boolean()) ?? pre?.addBos ?? isSentencePiece;
  if (addBos && bosTokenId === null)
    throw metadata.bad('tokenizer.ggml.add_bos_token', 'is true, but there is no bos_token_id');
  const eosTokenIds = endIds(metadata, vocabulary, isSentencePiece ? 2 : undefined);
  const bos = bosTokenId === null ? undefined : vocabulary.tokens[bosTokenId]!;
  return {
    tokenizer: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: addedTokens(vocabulary),
      post_processor: addBos && bos !== undefined && bosTokenId !== null ? beginsWith(bos, bosTokenId) : null,
      ...(pre ? byteLevel(metadata, vocabulary, pre) : sentencePiece(metadata, vocabulary)),
    },
    config: {
      ...(bos === undefined ? {} : { bos_token: bos }),
      eos_token: vocabulary.tokens[eosTokenIds[0]!],
      add_bos_token: addBos,
      ...chatTemplates(metadata),
    },
    bosTokenId,
    eosTokenIds,
  };
}

function readVocabulary(metadata: Metadata): Vocabulary {
  const tokens = metadata.get('tokenizer.ggml.tokens', z.array(z.string()));
  const types = metadata.find('tokenizer.ggml.token_type', z.array(z.int())) ?? tokens.map(() => TYPE.normal);
  if (types.length !== tokens.length) {
    throw metadata.bad('tokenizer.ggml.token_type', `has ${types.length} values for ${tokens.length} tokens`);
  }
  const seen = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const other = seen.get(token);
    if (other !== undefined && types[id] !== TYPE.unused) {
      throw metadata.bad('tokenizer.ggml.tokens', `has ${JSON.stringify(token)} as token ${other} and ${id}`);
    }
    seen.set(token, id);
  }
  return { tokens, types };
}

function preTokenizerOf(metadata: Metadata): PreTokenizer {
  const name = metadata.find('tokenizer.ggml.pre', z.string());
  const pre = name === undefined ? undefined : PRE_TOKENIZERS.get(name);
  if (pre) return pre;
  const known = `this version knows ${[...PRE_TOKENIZERS.keys()].join(', ')}`;
  const remedy =
    'without it texts would be split into the wrong tokens; give the directory of the original model instead';
  throw metadata.bad(
    'tokenizer.ggml.pre',
    `${name === undefined ? 'is missing' : `is "${name}"`}; ${known}; ${remedy}`,
  );
}

/** Converters call every `<|…|>` a control token, but the published tokenizers of DeepSeek and Kimi show those of tool calls. */
const TOOL_MARKUP = /^<[|｜]tools?[_▁]/;

function addedTokens({ tokens, types }: Vocabulary): object[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if ((type !== TYPE.control && type !== TYPE.userDefined && type !== TYPE.unknown) || content === '') return [];
    const special = type !== TYPE.userDefined && !TOOL_MARKUP.test(content);
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
}

/** Names and ids of the tokens that texts are made of. */
function vocab({ tokens, types }: Vocabulary): Record<string, number> {
  const entries: Record<string, number> = Object.create(null) as Record<string, number>;
  for (const [id, token] of tokens.entries()) if (types[id] !== TYPE.unused && token !== '') entries[token] = id;
  return entries;
}

function byteLevel(metadata: Metadata, vocabulary: Vocabulary, pre: PreTokenizer): Record<string, unknown> {
  const merges = metadata.get('tokenizer.ggml.merges', z.array(z.string()));
  const level = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const { patterns } = pre;
  const splits =
    patterns === 'gpt-2'
      ? []
      : patterns.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false }));
  return {
    normalizer: pre.composes ? { type: 'NFC' } : null,
    pre_tokenizer:
      patterns === 'gpt-2'
        ? { ...level, use_regex: true }
        : { type: 'Sequence', pretokenizers: [...splits, { ...level, use_regex: false }] },
    decoder: { ...level, use_regex: true },
    model: {
      ...BPE,
      unk_token: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: pre.ignoreMerges,
      // Control tokens are no words, and are in added_tokens.
      vocab: withoutAdded(vocab(vocabulary), vocabulary),
      merges: merges.map((merge) => pairOf(merge)),
    },
  };
}

const BPE = { type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null };

function withoutAdded(entries: Record<string, number>, { types }: Vocabulary): Record<string, number> {
  return Object.fromEntries(Object.entries(entries).filter(([, id]) => types[id] === TYPE.normal));
}

/** "a b" as a pair; a token may begin with a space. */
function pairOf(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1);
  return [merge.slice(0, space), merge.slice(space + 1)];
}

function sentencePiece(metadata: Metadata, vocabulary: Vocabulary): Record<string, unknown> {
  const scores = metadata.get('tokenizer.ggml.scores', z.array(z.number()));
  if (scores.length !== vocabulary.tokens.length) {
    throw metadata.bad('tokenizer.ggml.scores', `has ${scores.length} values for ${vocabulary.tokens.length} tokens`);
  }
  const pieces = vocabulary.tokens.filter((_, id) => vocabulary.types[id] === TYPE.normal);
  const long = pieces.map((piece) => Buffer.byteLength(piece)).find((bytes) => bytes > MAX_TOKEN_BYTES);
  if (long !== undefined) {
    throw metadata.bad('tokenizer.ggml.tokens', `has a token of ${long} bytes, more than ${MAX_TOKEN_BYTES}`);
  }
  const addSpace = metadata.find('tokenizer.ggml.add_space_prefix', z.boolean()) ?? true;
  const unknown = metadata.findNumber('tokenizer.ggml.unknown_token_id') ?? 0;
  const entries = vocab(vocabulary);
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(addSpace ? [{ type: 'Prepend', prepend: '▁' }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(addSpace ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      ...BPE,
      unk_token: vocabulary.tokens[unknown] ?? null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: entries,
      merges: mergesOfScores(pieces, entries, scores),
    },
  };
}

function beginsWith(token: string, id: number): object {
  return {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 0 } }],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

function idOf(metadata: Metadata, { tokens }: Vocabulary, name: string): number | undefined {
  const key = `tokenizer.ggml.${name}_token_id`;
  const id = metadata.findNumber(key);
  if (id === undefined || id in tokens) return id;
  throw metadata.bad(key, `is ${id}, but there are only ${tokens.length} tokens`);
}

/** Names of control tokens that end an answer, whether or not the file says so (llama.cpp, `special_eog_ids`). */
const END_NAMES = new Set([
  '<|eot_id|>',
  '<|im_end|>',
  '<|return|>',
  '<|call|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<|eom_id|>',
  '<|end_of_text|>',
  '[EOS]',
  '[e~[',
]);

function endIds(metadata: Metadata, vocabulary: Vocabulary, byDefault: number | undefined): number[] {
  const { tokens, types } = vocabulary;
  const named = ['eos', 'eot', 'eom'].map((name) => idOf(metadata, vocabulary, name));
  const known = tokens.flatMap((token, id) => (types[id] === TYPE.control && END_NAMES.has(token) ? [id] : []));
  const ids = [...named, ...known].filter((id) => id !== undefined);
  if (ids.length === 0 && byDefault !== undefined) ids.push(byDefault);
  if (ids.length > 0) return [...new Set(ids)];
  throw metadata.bad('tokenizer.ggml.eos_token_id', 'is missing, and no other token is known to end a text');
}

function chatTemplates(metadata: Metadata): { chat_template?: unknown } {
  const plain = metadata.find('tokenizer.chat_template', z.string());
  const names = metadata.find('tokenizer.chat_templates', z.array(z.string())) ?? [];
  const named = names.map((name) => ({ name, template: metadata.get(`tokenizer.chat_template.${name}`, z.string()) }));
  if (named.length === 0) return plain === undefined ? {} : { chat_template: plain };
  return { chat_template: [...(plain === undefined ? [] : [{ name: 'default', template: plain }]), ...named] };
}
