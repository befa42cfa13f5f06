import type { Tokenizer } from '@shoal/model';

/** A model's tokens as a grammar sees them, in memory that threads can share. */
export interface Vocabulary {
  /** The model's, which may have more ids than its tokenizer; tokens without bytes are never allowed. */
  size: number;
  /** All tokens' bytes one after the other, and where each token's begin [size + 1]. */
  bytes: Uint8Array;
  starts: Uint32Array;
  /** Tokens that are no text, such as marks of turns. */
  specialIds: readonly number[];
  /** Tokens that end an answer; they are allowed where the grammar is complete, or complete after one that it names. */
  endIds: readonly number[];
}

/** `size` is the model's number of logits. */
export function vocabularyOf(tokenizer: Tokenizer, size: number, endIds: readonly number[]): Vocabulary {
  const tokens = Array.from({ length: size }, (_, id) => tokenizer.tokenBytes(id));
  return vocabularyFrom(tokens, [...tokenizer.specialTokenIds], endIds);
}

/** From each token's bytes. */
export function vocabularyFrom(
  tokens: readonly Uint8Array[],
  specialIds: readonly number[],
  endIds: readonly number[],
): Vocabulary {
  const total = tokens.reduce((sum, token) => sum + token.length, 0);
  const bytes = new Uint8Array(new SharedArrayBuffer(total));
  const starts = new Uint32Array(new SharedArrayBuffer(4 * (tokens.length + 1)));
  let at = 0;
  for (const [id, token] of tokens.entries()) {
    bytes.set(token, at);
    at += token.length;
    starts[id + 1] = at;
  }
  return { size: tokens.length, bytes, starts, specialIds: specialIds.filter((id) => id < tokens.length), endIds };
}

export function bytesOfToken({ bytes, starts }: Vocabulary, id: number): Uint8Array {
  return bytes.subarray(starts[id] ?? 0, starts[id + 1] ?? 0);
}
