import { f16ToF32 } from '../f16.ts';

// ggml's types of blocks of 32 values, and those without blocks (ggml-common.h, ggml-quants.c). Each value is computed in float64
// and rounded to float32 once. That gives ggml's bits, since every product of a scale and a code has at most 24 significant bits.

const BLOCK = 32;
const HALF = 16;

export function decodeF32(bytes: Uint8Array, values: Float32Array): void {
  // Copied, because a tensor need not begin at a multiple of 4 in the memory that it was read to.
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength).set(bytes.subarray(0, values.byteLength));
}

export function decodeF16(bytes: Uint8Array, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) values[i] = halfAt(bytes, 2 * i);
}

export function decodeBf16(bytes: Uint8Array, values: Float32Array): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) bits[i] = (bytes[2 * i]! << 16) | (bytes[2 * i + 1]! << 24);
}

/** d (f16), 16 bytes of codes: x = d (code − 8). The low nibbles are the first 16 values. */
export function decodeQ4_0(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 18, out += BLOCK) {
    const d = halfAt(bytes, at);
    for (let i = 0; i < HALF; i++) {
      const byte = bytes[at + 2 + i]!;
      values[out + i] = d * ((byte & 15) - 8);
      values[out + HALF + i] = d * ((byte >> 4) - 8);
    }
  }
}

/** d, m (f16), 16 bytes of codes: x = d code + m. */
export function decodeQ4_1(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 20, out += BLOCK) {
    const d = halfAt(bytes, at);
    const m = halfAt(bytes, at + 2);
    for (let i = 0; i < HALF; i++) {
      const byte = bytes[at + 4 + i]!;
      values[out + i] = d * (byte & 15) + m;
      values[out + HALF + i] = d * (byte >> 4) + m;
    }
  }
}

/** d (f16), 32 fifth bits, 16 bytes of codes: x = d (code − 16). */
export function decodeQ5_0(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 22, out += BLOCK) {
    const d = halfAt(bytes, at);
    const high = wordAt(bytes, at + 2);
    for (let i = 0; i < HALF; i++) {
      const byte = bytes[at + 6 + i]!;
      values[out + i] = d * (((byte & 15) | (((high >>> i) & 1) << 4)) - 16);
      values[out + HALF + i] = d * (((byte >> 4) | (((high >>> (i + HALF)) & 1) << 4)) - 16);
    }
  }
}

/** d, m (f16), 32 fifth bits, 16 bytes of codes: x = d code + m. */
export function decodeQ5_1(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 24, out += BLOCK) {
    const d = halfAt(bytes, at);
    const m = halfAt(bytes, at + 2);
    const high = wordAt(bytes, at + 4);
    for (let i = 0; i < HALF; i++) {
      const byte = bytes[at + 8 + i]!;
      values[out + i] = d * ((byte & 15) | (((high >>> i) & 1) << 4)) + m;
      values[out + HALF + i] = d * ((byte >> 4) | (((high >>> (i + HALF)) & 1) << 4)) + m;
    }
  }
}

/** d (f16), 32 signed bytes: x = d code. */
export function decodeQ8_0(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 34, out += BLOCK) {
    const d = halfAt(bytes, at);
    for (let i = 0; i < BLOCK; i++) values[out + i] = d * signed(bytes[at + 2 + i]!);
  }
}

/** Twice the values of FP4 E2M1 (OCP MX specification 1.0, table 5), as ggml has them. */
const FP4_DOUBLED = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** A scale of E8M0, 16 bytes of codes: x = 2^(scale − 127) FP4(code). */
export function decodeMxfp4(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 17, out += BLOCK) {
    // The codes' values are doubled, hence 128.
    const d = 2 ** (bytes[at]! - 128);
    for (let i = 0; i < HALF; i++) {
      const byte = bytes[at + 1 + i]!;
      values[out + i] = d * FP4_DOUBLED[byte & 15]!;
      values[out + HALF + i] = d * FP4_DOUBLED[byte >> 4]!;
    }
  }
}

/** The values of IQ4's codes (ggml-common.h, kvalues_iq4nl). */
export const IQ4_VALUES = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

/** d (f16), 16 bytes of codes: x = d value(code). */
export function decodeIq4Nl(bytes: Uint8Array, values: Float32Array): void {
  for (let at = 0, out = 0; out < values.length; at += 18, out += BLOCK) {
    const d = halfAt(bytes, at);
    for (let i = 0; i < HALF; i++) {
      const byte = bytes[at + 2 + i]!;
      values[out + i] = d * IQ4_VALUES[byte & 15]!;
      values[out + HALF + i] = d * IQ4_VALUES[byte >> 4]!;
    }
  }
}

/** The f16 at a byte offset, little-endian. */
export function halfAt(bytes: Uint8Array, at: number): number {
  return f16ToF32(bytes[at]! | (bytes[at + 1]! << 8));
}

/** The 32 bits at a byte offset, little-endian. */
function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** A byte as two's complement. */
export function signed(byte: number): number {
  return (byte << 24) >> 24;
}
