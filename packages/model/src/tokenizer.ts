import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { BpeBudget, type TextStep, TokenBound, TooManyTokensError } from './bpe-bounds.ts';
import { byteFallbackBytes, metaspaceBytes } from './byte-fallback.ts';
import { byteLevelBytes } from './byte-level.ts';
import { ChatTemplate } from './chat-template.ts';
import { messageOf, ModelError } from './errors.ts';
import { guardNormalizers } from './normal-form.ts';
import { mendSplits, withPythonSteps } from './pre-tokenizers.ts';
import { mendPrecompiled } from './precompiled.ts';
import { postProcessorSchema, promptPrefix, textSuffix } from './prompt-prefix.ts';
import { installUnigram, unigramSchema, withoutPieces } from './unigram.ts';

/** Far above any published vocabulary; bounds the tables by id. */
const MAX_TOKEN_ID = 1 << 22;
const tokenId = z.int().min(0).max(MAX_TOKEN_ID);

const tokenName = z.union([z.string(), z.object({ content: z.string() }).transform((token) => token.content)]);

const configSchema = z.looseObject({
  bos_token: tokenName.nullish(),
  eos_token: tokenName.nullish(),
  unk_token: tokenName.nullish(),
  pad_token: tokenName.nullish(),
  extra_special_tokens: z.union([z.record(z.string(), tokenName), z.array(z.unknown())]).nullish(),
  add_bos_token: z.boolean().nullish(),
  tokenizer_class: z.string().nullish(),
  remove_space: z.boolean().nullish(),
  do_lowercase_and_remove_accent: z.boolean().nullish(),
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});

const decoderSchema: z.ZodType<Decoder> = z.lazy(() =>
  z.looseObject({ type: z.string(), decoders: z.array(decoderSchema).optional() }),
);
interface Decoder {
  type: string;
  decoders?: Decoder[] | undefined;
}

const stepSchema: z.ZodType<TextStep> = z.lazy(() =>
  z.looseObject({
    type: z.string(),
    normalizers: z.array(stepSchema).optional(),
    pretokenizers: z.array(stepSchema).optional(),
  }),
);

const tokenizerSchema = z.looseObject({
  normalizer: stepSchema.nullish(),
  pre_tokenizer: stepSchema.nullish(),
  model: z.discriminatedUnion('type', [
    z.looseObject({ type: z.literal('BPE'), vocab: z.record(z.string(), tokenId) }),
    unigramSchema,
  ]),
  post_processor: postProcessorSchema.nullish(),
  decoder: decoderSchema,
  added_tokens: z.array(
    z.looseObject({
      id: tokenId,
      content: z.string().min(1),
      special: z.boolean().default(false),
      lstrip: z.boolean().optional(),
      rstrip: z.boolean().optional(),
    }),
  ),
});

const NO_BYTES = new Uint8Array(0);

/**
 * A tokenizer from Hugging Face's files: byte-level BPE (as GPT-2's: DeepSeek, Qwen, OLMoE), or SentencePiece's BPE with byte fallback
 * (as Llama's: Mixtral) or without (NLLB's), or its Unigram (XLM-RoBERTa's, T5's), which add a space before a text and remove it again.
 *
 * Text that spells a special token ("<|endoftext|>") is encoded as that token, as Hugging Face's tokenizers do by default. A
 * prompt can therefore contain an end-of-text, which separates documents in one text. Token ids carry no privilege in Shoal.
 */
export class Tokenizer {
  /** Highest token id + 1. A model's `vocabSize` may be larger, for alignment. */
  readonly vocabSize: number;
  /** Whether prompts begin with `bosTokenId`. */
  readonly addBosToken: boolean;
  /** The tokens that prompts begin with. */
  readonly promptPrefix: readonly number[];
  /** The tokens that end a text that is whole, as an encoder's are. */
  readonly textSuffix: readonly number[];
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly specialTokenIds: ReadonlySet<number>;
  readonly chatTemplate: ChatTemplate | undefined;
  readonly #hf: HfTokenizer;
  /** Undefined for Unigram, whose time is bounded by the text's length. */
  readonly #budget: BpeBudget | undefined;
  readonly #bound: TokenBound;
  /** Whether a text that is encoded gets a space in front, which is not part of its decoded text. */
  readonly dropsFirstSpace: boolean;
  /** By id. */
  readonly #bytes: Uint8Array[] = [];
  /** By id, once asked for; null for parts of characters. */
  readonly #texts: (string | null)[] = [];

  /** Takes the parsed `tokenizer.json` and `tokenizer_config.json`. Throws a ModelError if they are not supported. */
  constructor(tokenizerJson: unknown, configJson: unknown) {
    const spec = parse(tokenizerSchema, tokenizerJson, 'tokenizer.json');
    const config = parse(configSchema, configJson, 'tokenizer_config.json');
    const bytesOf = vocabularyOf(spec);
    this.dropsFirstSpace = someDecoder(spec.decoder, 'Strip') || someDecoder(spec.decoder, 'Metaspace');
    const { model } = spec;
    const json = model.type === 'BPE' ? (tokenizerJson as object) : withoutPieces(tokenizerJson as object, model);
    try {
      this.#hf = new HfTokenizer(withPythonSteps(json), configJson as object);
    } catch (cause) {
      throw new ModelError('bad-tokenizer', undefined, `tokenizer.json: ${messageOf(cause)}`, { cause });
    }
    mendPrecompiled(this.#hf);
    guardNormalizers(this.#hf);
    mendSplits(this.#hf);
    if (model.type === 'BPE') this.#budget = new BpeBudget(this.#hf);
    else installUnigram(this.#hf, model);
    this.#fillBytes(spec, bytesOf);
    const stripsSpace = spec.added_tokens.some((token) => token.lstrip || token.rstrip);
    this.#bound = new TokenBound({
      tokens: Object.values(this.#bytes),
      normalizer: spec.normalizer,
      preTokenizer: spec.pre_tokenizer,
      isChanged: config.remove_space === true || config.do_lowercase_and_remove_accent === true,
      stripsSpace,
      hasUnknown: this.#hf.model?.unk_token != null,
    });
    this.vocabSize = this.#bytes.length;
    this.specialTokenIds = new Set(spec.added_tokens.flatMap((token) => (token.special ? [token.id] : [])));
    this.bosTokenId = this.#requiredId(config.bos_token, 'bos_token');
    this.eosTokenId = this.#requiredId(config.eos_token, 'eos_token');
    this.promptPrefix = promptPrefix({
      postProcessor: spec.post_processor,
      addBos: config.add_bos_token,
      bosTokenId: this.bosTokenId,
      tokenizerClass: config.tokenizer_class,
    });
    this.textSuffix = textSuffix(spec.post_processor);
    this.addBosToken = this.bosTokenId !== undefined && this.promptPrefix[0] === this.bosTokenId;
    this.chatTemplate = chatTemplate(config);
  }

  /** A lower bound for the number of a text's tokens, found in a few milliseconds for a megabyte. */
  minTokens(text: string): number {
    return this.#bound.of(text);
  }

  /**
   * Token ids of a text, nothing added. Throws a TooManyTokensError as soon as they are known to be more than `maxTokens`, and a
   * MarkRunError for a text that the tokenizer would take too long to normalize.
   */
  encode(text: string, maxTokens = Infinity): number[] {
    if (text === '') return [];
    if (maxTokens < Infinity && this.minTokens(text) > maxTokens) throw tooMany(text, maxTokens);
    const ids = this.#encodeWithin(text, maxTokens);
    // Special tokens come from no word.
    if (ids.length > maxTokens) throw tooMany(text, maxTokens);
    if (ids.every((id) => Number.isInteger(id))) return ids;
    throw new ModelError('bad-tokenizer', 'vocab', 'tokenizer.json: no token for a part of the text');
  }

  /** Token ids of a prompt, after `promptPrefix` if the text does not begin with it. */
  encodePrompt(text: string, maxTokens?: number): number[] {
    const ids = this.encode(text, maxTokens);
    return this.promptPrefix.every((id, at) => ids[at] === id) ? ids : [...this.promptPrefix, ...ids];
  }

  /** Token ids of a text that is whole, between `promptPrefix` and `textSuffix`: at most `maxTokens` with these. Throws as `encode`. */
  encodeWhole(text: string, maxTokens = Infinity): number[] {
    const room = maxTokens - this.promptPrefix.length - this.textSuffix.length;
    return [...this.promptPrefix, ...this.encode(text, Math.max(0, room)), ...this.textSuffix];
  }

  /** Text of token ids, without special tokens and without an incomplete character at the end, as in a streamed answer. */
  decode(ids: Iterable<number>): string {
    const detokenizer = this.detokenizer();
    let text = '';
    for (const id of ids) text += detokenizer.push(id);
    text += detokenizer.flush();
    return this.dropsFirstSpace && text.startsWith(' ') ? text.slice(1) : text;
  }

  /** A streaming decoder for one answer's tokens. */
  detokenizer(): Detokenizer {
    return new Detokenizer(
      (id) => (this.specialTokenIds.has(id) ? NO_BYTES : this.tokenBytes(id)),
      (id) => (this.specialTokenIds.has(id) ? '' : this.tokenText(id)),
    );
  }

  /** The token of this name, special or not. */
  idOf(token: string): number | undefined {
    return this.#hf.token_to_id(token);
  }

  /** UTF-8 bytes of one token, which may begin or end inside a character; none for an id without a token. */
  tokenBytes(id: number): Uint8Array {
    return this.#bytes[id] ?? NO_BYTES;
  }

  /** The text of one token; undefined if its bytes are not whole characters. */
  tokenText(id: number): string | undefined {
    const known = this.#texts[id];
    if (known !== undefined) return known ?? undefined;
    const text = wholeText(this.tokenBytes(id));
    // Only for tokens that exist, so that no caller can fill it.
    if (id in this.#bytes) this.#texts[id] = text ?? null;
    return text;
  }

  #encodeWithin(text: string, maxTokens: number): number[] {
    try {
      const encode = () => this.#hf.encode(text, { add_special_tokens: false }).ids;
      return this.#budget ? this.#budget.within(maxTokens, encode) : encode();
    } catch (thrown) {
      throw thrown instanceof TooManyTokensError ? tooMany(text, maxTokens) : thrown;
    }
  }

  #fillBytes(spec: z.infer<typeof tokenizerSchema>, bytesOf: (token: string) => Uint8Array | undefined): void {
    const utf8 = new TextEncoder();
    const added = new Map(spec.added_tokens.map((token) => [token.id, utf8.encode(token.content)]));
    const { model } = spec;
    const entries =
      model.type === 'BPE' ? Object.entries(model.vocab) : model.vocab.map(([piece], id) => [piece, id] as const);
    for (const [token, id] of entries) {
      const bytes = added.get(id) ?? bytesOf(token);
      if (!bytes) {
        const message = `tokenizer.json: token ${id} ${JSON.stringify(token)} is not written in byte-level characters`;
        throw new ModelError('bad-tokenizer', 'vocab', message);
      }
      this.#bytes[id] = bytes;
    }
    for (const [id, bytes] of added) this.#bytes[id] = bytes;
  }

  #requiredId(token: string | null | undefined, key: string): number | undefined {
    if (token === null || token === undefined) return undefined;
    const id = this.idOf(token);
    if (id !== undefined) return id;
    const message = `tokenizer_config.json: ${key} ${JSON.stringify(token)} is not in tokenizer.json`;
    throw new ModelError('contradiction', key, message);
  }
}

/** Turns tokens into text one by one. Returns only complete characters, so that no text has to be corrected afterwards. */
export class Detokenizer {
  readonly #bytesOf: (id: number) => Uint8Array;
  readonly #textOf: (id: number) => string | undefined;
  /** Whether the decoder certainly keeps no bytes. */
  #isEmpty = true;
  // A byte-order mark is ordinary text here.
  #utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

  /** `textOf` knows the tokens that are whole characters; looking them up is some fifty times as fast as decoding. */
  constructor(bytesOf: (id: number) => Uint8Array, textOf: (id: number) => string | undefined) {
    this.#bytesOf = bytesOf;
    this.#textOf = textOf;
  }

  /** The text that this token completes. The bytes of an incomplete character are kept. */
  push(id: number): string {
    if (this.#isEmpty) {
      const text = this.#textOf(id);
      if (text !== undefined) return text;
    }
    const bytes = this.#bytesOf(id);
    // No character is unfinished after an ASCII byte.
    if (bytes.length > 0) this.#isEmpty = bytes.at(-1)! < 0x80;
    return this.#utf8.decode(bytes, { stream: true });
  }

  /** Ends the answer: drops an incomplete character, returns '', and makes the detokenizer ready for another answer. */
  flush(): string {
    this.#utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
    this.#isEmpty = true;
    return '';
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function wholeText(bytes: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}

function tooMany(text: string, maxTokens: number): TooManyTokensError {
  return new TooManyTokensError(`a text of ${text.length} characters has more than ${maxTokens} tokens`);
}

/** How a vocabulary's entries are turned into bytes, according to the tokenizer's decoder. */
function vocabularyOf({ decoder }: z.infer<typeof tokenizerSchema>): (token: string) => Uint8Array | undefined {
  if (someDecoder(decoder, 'ByteLevel')) return byteLevelBytes;
  if (someDecoder(decoder, 'ByteFallback')) return byteFallbackBytes;
  if (someDecoder(decoder, 'Metaspace')) return metaspaceBytes;
  const supported = 'this version reads byte-level BPE, and SentencePiece’s BPE and Unigram';
  throw new ModelError('unsupported', 'decoder', `tokenizer.json: decoder ${decoder.type}; ${supported}`);
}

function someDecoder(decoder: Decoder, type: string): boolean {
  return decoder.type === type || (decoder.decoders ?? []).some((part) => someDecoder(part, type));
}

function chatTemplate(config: z.infer<typeof configSchema>): ChatTemplate | undefined {
  const given = config.chat_template;
  const variables = templateTokens(config);
  if (given == null) return undefined;
  if (typeof given === 'string') return new ChatTemplate(given, variables);
  const named = (name: string): string | undefined => given.find((entry) => entry.name === name)?.template;
  // Of several templates (for tools, for retrieval), plain chat uses the one named "default".
  const [plain, tools] = [named('default'), named('tool_use')];
  return plain === undefined ? undefined : new ChatTemplate(plain, variables, tools);
}

/** The special tokens that transformers gives to templates by name. */
function templateTokens(config: z.infer<typeof configSchema>): Record<string, string> {
  const { extra_special_tokens: extra, bos_token, eos_token, unk_token, pad_token } = config;
  const named = { ...(Array.isArray(extra) ? {} : extra), bos_token, eos_token, unk_token, pad_token };
  return Object.fromEntries(Object.entries(named).filter((entry): entry is [string, string] => Boolean(entry[1])));
}

function parse<S extends z.ZodType>(schema: S, json: unknown, file: string): z.infer<S> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const key = issue.path.join('.');
  throw new ModelError('bad-tokenizer', key || undefined, `${file}: ${key || 'the file'}: ${issue.message}`);
}
