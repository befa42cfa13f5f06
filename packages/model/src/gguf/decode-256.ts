import { halfAt, IQ4_VALUES, signed } from './decode-32.ts';

// ggml's types of blocks of 256 values ("K-quants" and IQ4_XS; ggml-common.h, ggml-quants.c): 8 or 16 groups, each with a small
// integer scale, which the block's f16 scale multiplies. As in decode-32.ts one rounding to float32 gives ggml's bits.

const BLOCK = 256;

/** 16 groups of 16: bytes of (minimum << 4 | scale); 64 bytes of 2-bit codes; d, dmin. x = d scale code − dmin minimum. */
export function decodeQ2K(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 84, out += BLOCK) {
    const d = halfAt(bytes, at + 80);
    const dMin = halfAt(bytes, at + 82);
    for (let group = 0; group < 16; group++) {
      const packed = bytes[at + group]!;
      const scale = d * (packed & 15);
      const minimum = dMin * (packed >> 4);
      // Groups 0 to 7 take turns at the bits of the first 32 bytes of codes: two groups for each pair of bits.
      const codes = at + 16 + 32 * (group >> 3) + 16 * (group & 1);
      const shift = group & 6;
      for (let i = 0; i < 16; i++) values[out + 16 * group + i] = scale * ((bytes[codes + i]! >> shift) & 3) - minimum;
    }
  }
}

/** 16 groups of 16: 32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes of 6-bit scales, d. x = d (scale − 32) (code − 4). */
export function decodeQ3K(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 110, out += BLOCK) {
    const d = halfAt(bytes, at + 108);
    for (let group = 0; group < 16; group++) {
      const low = (bytes[at + 96 + (group & 7)]! >> (group < 8 ? 0 : 4)) & 15;
      const high = (bytes[at + 104 + (group & 3)]! >> (2 * (group >> 2))) & 3;
      const scale = d * ((low | (high << 4)) - 32);
      const codes = at + 32 + 32 * (group >> 3) + 16 * (group & 1);
      const shift = group & 6;
      const thirdBits = at + 16 * (group & 1);
      for (let i = 0; i < 16; i++) {
        const third = (bytes[thirdBits + i]! >> (group >> 1)) & 1;
        values[out + 16 * group + i] = scale * (((bytes[codes + i]! >> shift) & 3) + 4 * third - 4);
      }
    }
  }
}

/** The 6-bit scale of a group of Q4_K and Q5_K, from 12 bytes of 8 scales and 8 minimums. */
function scaleOf(bytes: Uint8Array, at: number, group: number): number {
  if (group < 4) return bytes[at + group]! & 63;
  return (bytes[at + 4 + group]! & 15) | ((bytes[at + group - 4]! >> 6) << 4);
}

/** The 6-bit minimum of a group of Q4_K and Q5_K. */
function minimumOf(bytes: Uint8Array, at: number, group: number): number {
  if (group < 4) return bytes[at + 4 + group]! & 63;
  return (bytes[at + 4 + group]! >> 4) | ((bytes[at + group]! >> 6) << 4);
}

/** 8 groups of 32: d, dmin, 12 bytes of scales and minimums, 128 bytes of 4-bit codes. x = d scale code − dmin minimum. */
export function decodeQ4K(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 144, out += BLOCK) {
    const d = halfAt(bytes, at);
    const dMin = halfAt(bytes, at + 2);
    for (let group = 0; group < 8; group++) {
      const scale = d * scaleOf(bytes, at + 4, group);
      const minimum = dMin * minimumOf(bytes, at + 4, group);
      const codes = at + 16 + 32 * (group >> 1);
      const shift = 4 * (group & 1);
      for (let i = 0; i < 32; i++) values[out + 32 * group + i] = scale * ((bytes[codes + i]! >> shift) & 15) - minimum;
    }
  }
}

/** As Q4_K, with 32 bytes of fifth bits before the codes: bit g of each is that of group g. */
export function decodeQ5K(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 176, out += BLOCK) {
    const d = halfAt(bytes, at);
    const dMin = halfAt(bytes, at + 2);
    for (let group = 0; group < 8; group++) {
      const scale = d * scaleOf(bytes, at + 4, group);
      const minimum = dMin * minimumOf(bytes, at + 4, group);
      const codes = at + 48 + 32 * (group >> 1);
      const shift = 4 * (group & 1);
      for (let i = 0; i < 32; i++) {
        const code = ((bytes[codes + i]! >> shift) & 15) | (((bytes[at + 16 + i]! >> group) & 1) << 4);
        values[out + 32 * group + i] = scale * code - minimum;
      }
    }
  }
}

/** 16 groups of 16: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, d. x = d scale (code − 32). */
export function decodeQ6K(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 210, out += BLOCK) {
    const d = halfAt(bytes, at + 208);
    for (let group = 0; group < 16; group++) {
      const scale = d * signed(bytes[at + 192 + group]!);
      // Half of the block, quarter of that half, and half of that quarter.
      const [half, quarter, part] = [group >> 3, (group >> 1) & 3, group & 1];
      const low = at + 64 * half + 32 * (quarter & 1) + 16 * part;
      const lowShift = 4 * (quarter >> 1);
      const high = at + 128 + 32 * half + 16 * part;
      for (let i = 0; i < 16; i++) {
        const code = ((bytes[low + i]! >> lowShift) & 15) | (((bytes[high + i]! >> (2 * quarter)) & 3) << 4);
        values[out + 16 * group + i] = scale * (code - 32);
      }
    }
  }
}

/** 8 groups of 32: d, 8 high bit pairs of scales, 4 bytes of their low nibbles, 128 bytes of codes. x = d (scale − 32) value(code). */
export function decodeIq4Xs(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 136, out += BLOCK) {
    const d = halfAt(bytes, at);
    const high = bytes[at + 2]! | (bytes[at + 3]! << 8);
    for (let group = 0; group < 8; group++) {
      const low = (bytes[at + 4 + (group >> 1)]! >> (4 * (group & 1))) & 15;
      const scale = d * ((low | (((high >> (2 * group)) & 3) << 4)) - 32);
      const codes = at + 8 + 16 * group;
      for (let i = 0; i < 16; i++) {
        const byte = bytes[codes + i]!;
        values[out + 32 * group + i] = scale * IQ4_VALUES[byte & 15]!;
        values[out + 32 * group + 16 + i] = scale * IQ4_VALUES[byte >> 4]!;
      }
    }
  }
}
