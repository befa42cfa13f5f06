import { WeightsError } from './errors.ts';

/** The dimensions shared by all the experts of a model, and the packed format of their shards. */
export interface ExpertShape {
  hiddenSize: number;
  moeIntermediateSize: number;
  quant: Quant;
}

/** Far above any model (V3: 7168 × 2048), but low enough for products of sizes to be exact integers. */
export const MAX_DIMENSION = 65_536;

export const QUANTS = ['f16', 'q8', 'q4'] as const;
export type Quant = (typeof QUANTS)[number];
export type MatrixName = 'gate' | 'up' | 'down';
export const MATRIX_NAMES: readonly MatrixName[] = ['gate', 'up', 'down'];

/**
 * Consecutive columns of a row that form a block. f16: 8 values fill one 16-byte load. q8: 32 int8 (two such loads) share one
 * f16 scale, as do q4's 32 nibbles (one load). 32 divides every expert width in use (V2-Lite's 1408 = 44 × 32), 256 does not.
 */
export const BLOCK_COLS: Readonly<Record<Quant, number>> = { f16: 8, q8: 32, q4: 32 };

/** Bytes of a block's values and of its scale. */
const BLOCK_BYTES: Readonly<Record<Quant, { values: number; scale: number }>> = {
  f16: { values: 16, scale: 0 },
  q8: { values: 32, scale: 2 },
  q4: { values: 16, scale: 2 },
};

/** The kernels read `vec4<u32>`, so every section begins at a multiple of 16 bytes. */
const SECTION_ALIGN_BYTES = 16;

/** The place of one matrix in a shard; offsets and sizes in bytes. */
export interface MatrixLayout {
  name: MatrixName;
  /** Outputs. */
  rows: number;
  /** Inputs, before padding. */
  cols: number;
  colBlocks: number;
  /**
   * f16: [colBlocks][rows][8] halves. q8: [colBlocks][2][rows][16] int8, each half of a block being one load.
   * q4: [colBlocks][rows][16] bytes, column j of a block in byte j's low nibble and column j + 16 in its high one.
   * Column-block-major, since neighbouring threads compute neighbouring rows and thus read neighbouring 16 bytes.
   */
  valuesOffset: number;
  valuesBytes: number;
  /** q8 and q4: [colBlocks][rows] halves. 0 bytes in f16. */
  scalesOffset: number;
  scalesBytes: number;
}

export interface ShardLayout extends Readonly<Record<MatrixName, MatrixLayout>> {
  /** Bytes of the whole shard, a multiple of 16. */
  totalBytes: number;
}

/**
 * The layout of one expert's shard: gate [F, D], up [F, D], down [D, F], each its values then its scales (D = hiddenSize,
 * F = moeIntermediateSize). Little-endian; columns are zero-padded to whole blocks, sections to 16 bytes.
 * Throws WeightsError `bad-shape`.
 */
export function shardLayout(shape: ExpertShape): ShardLayout {
  const D = checkDimension('hiddenSize', shape.hiddenSize);
  const F = checkDimension('moeIntermediateSize', shape.moeIntermediateSize);
  const block = BLOCK_COLS[shape.quant];
  if (block === undefined) {
    throw new WeightsError('bad-shape', `unknown quant ${String(shape.quant)}; use ${QUANTS.join(', ')}`);
  }
  let end = 0;
  const section = (bytes: number): number => {
    const offset = end;
    end += Math.ceil(bytes / SECTION_ALIGN_BYTES) * SECTION_ALIGN_BYTES;
    return offset;
  };
  const matrix = (name: MatrixName, rows: number, cols: number): MatrixLayout => {
    const colBlocks = Math.ceil(cols / block);
    const valuesBytes = colBlocks * rows * BLOCK_BYTES[shape.quant].values;
    const scalesBytes = colBlocks * rows * BLOCK_BYTES[shape.quant].scale;
    const valuesOffset = section(valuesBytes);
    return { name, rows, cols, colBlocks, valuesOffset, valuesBytes, scalesOffset: section(scalesBytes), scalesBytes };
  };
  const gate = matrix('gate', F, D);
  const up = matrix('up', F, D);
  const down = matrix('down', D, F);
  return { gate, up, down, totalBytes: end };
}

/** Bytes of one shard. */
export function shardBytes(shape: ExpertShape): number {
  return shardLayout(shape).totalBytes;
}

function checkDimension(name: string, size: number): number {
  if (!Number.isInteger(size) || size < 1 || size > MAX_DIMENSION) {
    throw new WeightsError('bad-shape', `${name} is ${size}; it must be an integer from 1 to ${MAX_DIMENSION}`);
  }
  return size;
}
