const BYTE = /^<0x([0-9A-F]{2})>$/;
/** U+2581, which stands for a space in SentencePiece's vocabularies. */
const SPACE = /\u2581/g;
const utf8 = new TextEncoder();

/**
 * The bytes of an entry of a SentencePiece vocabulary (Llama's, Mixtral's): its text with ▁ for spaces, or a single byte written
 * as "<0x0A>", from which characters outside the vocabulary are composed.
 */
export function byteFallbackBytes(token: string): Uint8Array {
  const byte = BYTE.exec(token);
  return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : metaspaceBytes(token);
}

/** The bytes of an entry of a SentencePiece vocabulary without single bytes: its text with ▁ for spaces. */
export function metaspaceBytes(token: string): Uint8Array {
  return utf8.encode(token.replace(SPACE, ' '));
}
