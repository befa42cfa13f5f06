import {
  decodeBf16,
  decodeF16,
  decodeF32,
  decodeIq4Nl,
  decodeMxfp4,
  decodeQ4_0,
  decodeQ4_1,
  decodeQ5_0,
  decodeQ5_1,
  decodeQ8_0,
} from './decode-32.ts';
import { decodeIq4Xs, decodeQ2K, decodeQ3K, decodeQ4K, decodeQ5K, decodeQ6K } from './decode-256.ts';

/** Decodes whole blocks to float32: `values.length` is a multiple of the block's values. */
export type Decode = (bytes: Uint8Array, values: Float32Array) => void;

/** A type of ggml.h's `ggml_type`. */
export interface BlockType {
  name: string;
  /** Values that share a block; a row has whole blocks. */
  blockValues: number;
  blockBytes: number;
  /** undefined: the type is known, so that its tensors can be named, but not read. */
  decode: Decode | undefined;
}

const type = (name: string, blockValues: number, blockBytes: number, decode?: Decode): BlockType => ({
  name,
  blockValues,
  blockBytes,
  decode,
});

/**
 * ggml's types by number, with block sizes as in gguf-py's GGML_QUANT_SIZES. Those below 2 bits a value and the codebook types are
 * not read: hardly anyone serves MoE models from them, and packing to q4 would hide what they have lost already.
 */
export const BLOCK_TYPES: ReadonlyMap<number, BlockType> = new Map([
  [0, type('F32', 1, 4, decodeF32)],
  [1, type('F16', 1, 2, decodeF16)],
  [2, type('Q4_0', 32, 18, decodeQ4_0)],
  [3, type('Q4_1', 32, 20, decodeQ4_1)],
  [6, type('Q5_0', 32, 22, decodeQ5_0)],
  [7, type('Q5_1', 32, 24, decodeQ5_1)],
  [8, type('Q8_0', 32, 34, decodeQ8_0)],
  [9, type('Q8_1', 32, 40)],
  [10, type('Q2_K', 256, 84, decodeQ2K)],
  [11, type('Q3_K', 256, 110, decodeQ3K)],
  [12, type('Q4_K', 256, 144, decodeQ4K)],
  [13, type('Q5_K', 256, 176, decodeQ5K)],
  [14, type('Q6_K', 256, 210, decodeQ6K)],
  [15, type('Q8_K', 256, 292)],
  [16, type('IQ2_XXS', 256, 66)],
  [17, type('IQ2_XS', 256, 74)],
  [18, type('IQ3_XXS', 256, 98)],
  [19, type('IQ1_S', 256, 50)],
  [20, type('IQ4_NL', 32, 18, decodeIq4Nl)],
  [21, type('IQ3_S', 256, 110)],
  [22, type('IQ2_S', 256, 82)],
  [23, type('IQ4_XS', 256, 136, decodeIq4Xs)],
  [24, type('I8', 1, 1)],
  [25, type('I16', 1, 2)],
  [26, type('I32', 1, 4)],
  [27, type('I64', 1, 8)],
  [28, type('F64', 1, 8)],
  [29, type('IQ1_M', 256, 56)],
  [30, type('BF16', 1, 2, decodeBf16)],
  [34, type('TQ1_0', 256, 54)],
  [35, type('TQ2_0', 256, 66)],
  [39, type('MXFP4', 32, 17, decodeMxfp4)],
  [40, type('NVFP4', 64, 36)],
  [41, type('Q1_0', 128, 18)],
]);

/** Names of the types that are read. */
export const READABLE_TYPES: readonly string[] = [...BLOCK_TYPES.values()].flatMap(({ name, decode }) =>
  decode ? [name] : [],
);
