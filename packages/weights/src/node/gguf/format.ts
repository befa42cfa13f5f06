import { f32ToF16 } from '@shoal/model';
import { WeightsError } from '../../errors.ts';

/** How a GGUF tensor stores its values, under llama.cpp's names. */
export type GgufType = 'f32' | 'f16' | 'q8_0' | 'q4_0';

interface TypeInfo {
  /** ggml's number of the type. */
  id: number;
  blockValues: number;
  blockBytes: number;
  encode: (values: Float32Array) => Uint8Array;
}

const QUANT_BLOCK = 32;

/** The supported types of ggml.h's `ggml_type`. */
export const GGUF_TYPES: Readonly<Record<GgufType, TypeInfo>> = {
  f32: { id: 0, blockValues: 1, blockBytes: 4, encode: encodeF32 },
  f16: { id: 1, blockValues: 1, blockBytes: 2, encode: encodeF16 },
  q4_0: { id: 2, blockValues: QUANT_BLOCK, blockBytes: 18, encode: encodeQ4 },
  q8_0: { id: 8, blockValues: QUANT_BLOCK, blockBytes: 34, encode: encodeQ8 },
};

/** Bytes of `values` values, which must be whole blocks. */
export function encodedBytes(type: GgufType, values: number): number {
  const { blockValues, blockBytes } = GGUF_TYPES[type];
  return (values / blockValues) * blockBytes;
}

function encodeF32(values: Float32Array): Uint8Array {
  // Little-endian, as on every machine that runs Node.
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

function encodeF16(values: Float32Array): Uint8Array {
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const half = f32ToF16(values[i]!);
    if ((half & 0x7c00) === 0x7c00) {
      throw new WeightsError('bad-weight', `${values[i]} is too large for f16; export as f32`);
    }
    halves[i] = half;
  }
  return new Uint8Array(halves.buffer);
}

/** ggml's `quantize_row_q8_0_ref`: d = absmax / 127, codes round(x / d). */
function encodeQ8(values: Float32Array): Uint8Array {
  return encodeBlocks('q8_0', values, (view, at, first, extreme) => {
    const d = Math.fround(Math.abs(extreme) / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    view.setUint16(at, f32ToF16(d), true);
    for (let i = 0; i < QUANT_BLOCK; i++) {
      view.setInt8(at + 2 + i, roundAwayFromZero(Math.fround(values[first + i]! * inverse)));
    }
  });
}

/** Calls `encode` for each block with its byte offset, its first value's index and its value of largest magnitude. */
function encodeBlocks(
  type: GgufType,
  values: Float32Array,
  encode: (view: DataView, at: number, first: number, extreme: number) => void,
): Uint8Array {
  const { blockBytes } = GGUF_TYPES[type];
  const bytes = new Uint8Array((values.length / QUANT_BLOCK) * blockBytes);
  const view = new DataView(bytes.buffer);
  for (let first = 0, at = 0; first < values.length; first += QUANT_BLOCK, at += blockBytes) {
    let extreme = 0;
    for (let i = 0; i < QUANT_BLOCK; i++) {
      if (Math.abs(values[first + i]!) > Math.abs(extreme)) extreme = values[first + i]!;
    }
    encode(view, at, first, extreme);
  }
  return bytes;
}

/** C's roundf, which rounds halves away from zero. */
function roundAwayFromZero(value: number): number {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
}

/** ggml's `quantize_row_q4_0_ref`: d = the value of largest magnitude / −8, codes trunc(x / d + 8.5) from 0 to 15. */
function encodeQ4(values: Float32Array): Uint8Array {
  return encodeBlocks('q4_0', values, (view, at, first, extreme) => {
    const d = Math.fround(extreme / -8);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    const code = (i: number): number => Math.min(15, Math.trunc(Math.fround(values[first + i]! * inverse) + 8.5));
    view.setUint16(at, f32ToF16(d), true);
    // Column i is in the low half of byte i, column i + 16 in the high half.
    for (let i = 0; i < QUANT_BLOCK / 2; i++) view.setUint8(at + 2 + i, code(i) | (code(i + QUANT_BLOCK / 2) << 4));
  });
}
