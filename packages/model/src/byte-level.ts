/**
 * GPT-2's reversible map between the 256 bytes and printable characters, in which byte-level BPE vocabularies are written:
 * printable Latin-1 characters stand for themselves, the other bytes are U+0100 and following, in order.
 */
const byteOfChar: ReadonlyMap<string, number> = buildTable();

function buildTable(): Map<string, number> {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  const table = new Map<string, number>();
  let next = 256;
  for (let b = 0; b < 256; b++) table.set(String.fromCharCode(printable(b) ? b : next++), b);
  return table;
}

/** The bytes of a vocabulary entry, or undefined if it holds a character outside the map. */
export function byteLevelBytes(token: string): Uint8Array | undefined {
  const bytes: number[] = [];
  for (const char of token) {
    const byte = byteOfChar.get(char);
    if (byte === undefined) return undefined;
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

const charOfByte: readonly string[] = [...byteOfChar.keys()];

/** Bytes as a vocabulary writes them. */
export function byteLevelText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => charOfByte[byte]!).join('');
}
