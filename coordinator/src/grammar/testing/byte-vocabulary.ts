import { vocabularyFrom, type Vocabulary } from '../vocabulary.ts';

/** Ends an answer. */
export const END = 256;
/** Spelled as its text, too. */
export const CALL = 257;
export const CALL_TEXT = '<|call|>';
export const THOUGHT = 258;
export const THOUGHT_TEXT = '</think>';

/** A token for each byte, the three above, and one for each of the texts; then a few ids that are no tokens. */
export function byteVocabulary(texts: readonly string[] = []): Vocabulary {
  const bytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const others = ['<|end|>', CALL_TEXT, THOUGHT_TEXT, ...texts].map((text) => Uint8Array.from(Buffer.from(text)));
  const padding = Array.from({ length: 5 }, () => new Uint8Array(0));
  return vocabularyFrom([...bytes, ...others, ...padding], [END, CALL, THOUGHT], [END]);
}

/** The ids that a mask allows. */
export function idsOf(mask: Uint32Array | undefined, size: number): number[] {
  return Array.from({ length: size }, (_, id) => id).filter((id) => !mask || (mask[id >>> 5]! >>> (id & 31)) & 1);
}
