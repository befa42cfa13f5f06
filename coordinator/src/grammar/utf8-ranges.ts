import type { CharRange } from './expression.ts';

/** A range for each byte of a character. */
export type ByteRanges = readonly (readonly [first: number, last: number])[];

/** The last code point of each length in UTF-8. */
const LAST_OF_LENGTH = [0x7f, 0x7ff, 0xffff, 0x10ffff];
const SURROGATES = [0xd800, 0xdfff] as const;

/** The UTF-8 of a range of code points, without surrogates, as alternatives. */
export function utf8Ranges([first, last]: CharRange): ByteRanges[] {
  if (first > last) return [];
  const [lowest, highest] = SURROGATES;
  if (first <= highest && last >= lowest)
    return [...utf8Ranges([first, lowest - 1]), ...utf8Ranges([highest + 1, last])];
  for (const limit of LAST_OF_LENGTH)
    if (first <= limit && limit < last) return [...utf8Ranges([first, limit]), ...utf8Ranges([limit + 1, last])];
  // Both have the same length. Below a byte in which they differ, all continuation bytes must be possible.
  for (const bits of first < 0x80 ? [] : [6, 12, 18]) {
    const mask = (1 << bits) - 1;
    if ((first & ~mask) === (last & ~mask)) break;
    if ((first & mask) !== 0) return [...utf8Ranges([first, first | mask]), ...utf8Ranges([(first | mask) + 1, last])];
    if ((last & mask) !== mask)
      return [...utf8Ranges([first, (last & ~mask) - 1]), ...utf8Ranges([last & ~mask, last])];
  }
  const low = Buffer.from(String.fromCodePoint(first));
  const high = Buffer.from(String.fromCodePoint(last));
  return [Array.from(low, (byte, index) => [byte, high[index]!] as const)];
}
