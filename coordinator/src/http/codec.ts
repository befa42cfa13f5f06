import type { Tokenizer } from '@shoal/model';
import type { EncodeOutcome, EncodeTask } from '../text/encode-task.ts';
import type { TextEncoding } from '../text/text-encoding.ts';
import type { TextClient } from '../text/text-thread.ts';

/** Turns ids into text one by one, and holds back the bytes of incomplete characters. */
export interface StreamDetokenizer {
  push(id: number): string;
  flush(): string;
}

/** A tokenizer as the HTTP server uses it. */
export interface TextCodec {
  /** Ids 0 to vocabSize − 1 are valid wherever tokens are given: all that the model may answer with. */
  readonly vocabSize: number;
  /**
   * With the model's begin-of-text token where it has one, which may be one token more than the task allows. Rejects with a
   * TextThreadError, or with the reason of the client's signal.
   */
  encode(task: EncodeTask, client: TextClient): Promise<EncodeOutcome>;
  /** A token's bytes, or its name for a special token. */
  tokenBytes(id: number): Uint8Array;
  /** The same as text; undefined if the bytes are not whole characters. */
  tokenText(id: number): string | undefined;
  /** A special token's text; undefined for others. Detokenizers leave special tokens out. */
  specialText(id: number): string | undefined;
  /** The token of this name, special or not. */
  idOf(text: string): number | undefined;
  newDetokenizer(): StreamDetokenizer;
  /** Whether a text's first space is the tokenizer's and not the text's, as in Llama 2's; an answer goes on with it. */
  readonly dropsFirstSpace: boolean;
  /** The markers of a text with a gap, if the model has them. */
  readonly fim: FimMarkers | undefined;
}

export interface FimMarkers {
  prefix: string;
  suffix: string;
  middle: string;
}

/** `vocabSize` is the model's, which may be larger than the tokenizer's: the ids between are of no text. */
export function tokenizerCodec(tokenizer: Tokenizer, texts: TextEncoding, vocabSize = tokenizer.vocabSize): TextCodec {
  return {
    vocabSize,
    encode: (task, client) => texts.encode(task, client),
    tokenBytes: (id) => tokenizer.tokenBytes(id),
    tokenText: (id) => tokenizer.tokenText(id),
    specialText: (id) => (tokenizer.specialTokenIds.has(id) ? (tokenizer.tokenText(id) ?? '') : undefined),
    idOf: (text) => tokenizer.idOf(text),
    newDetokenizer: () => tokenizer.detokenizer(),
    dropsFirstSpace: tokenizer.dropsFirstSpace,
    fim: fimMarkers(tokenizer),
  };
}

/** As published models spell them: Qwen and granite, StarCoder, DeepSeek, and GLM. */
const FIM_MARKERS: readonly FimMarkers[] = [
  { prefix: '<|fim_prefix|>', suffix: '<|fim_suffix|>', middle: '<|fim_middle|>' },
  { prefix: '<fim_prefix>', suffix: '<fim_suffix>', middle: '<fim_middle>' },
  { prefix: '<｜fim▁begin｜>', suffix: '<｜fim▁hole｜>', middle: '<｜fim▁end｜>' },
  { prefix: '<|code_prefix|>', suffix: '<|code_suffix|>', middle: '<|code_middle|>' },
];

function fimMarkers(tokenizer: Tokenizer): FimMarkers | undefined {
  return FIM_MARKERS.find((markers) => Object.values(markers).every((text) => tokenizer.idOf(text) !== undefined));
}

/**
 * A token's name in OpenAI's logprobs: its text, or `bytes:\xf0\x9f` where its bytes are not whole characters, so that
 * tokens do not share the name U+FFFD.
 */
export function tokenName(codec: TextCodec, id: number): string {
  const text = codec.tokenText(id);
  if (text !== undefined) return text;
  return 'bytes:' + Array.from(codec.tokenBytes(id), (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
}
