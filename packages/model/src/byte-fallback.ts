const BYTE = /^<0x([0-9A-F]{2})>$/;
/** U+2581, which stands for a space in SentencePiece's vocabularies. */
const SPACE = /\u2581/g;
const utf8 = new TextEncoder();

/**
 * The bytes that an entry of a SentencePiece vocabulary (Llama's, Mixtral's) stands for: its text with ▁ for spaces, or one byte
 * written "<0x0A>", which characters outside the vocabulary are made of.
 */
export function byteFallbackBytes(token: string): Uint8Array {
  const byte = BYTE.exec(token);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : utf8.encode(token.replace(SPACE, ' '));
}
