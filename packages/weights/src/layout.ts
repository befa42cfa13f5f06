import { EXPERT_ACTIVATIONS, type ExpertActivation, isGated, type ModelConfig } from '@shoal/model';
import { WeightsError } from './errors.ts';

/** What all the experts of a model have in common: dimensions, kind, and the packed format of their shards. */
export interface ExpertShape {
  hiddenSize: number;
  moeIntermediateSize: number;
  quant: Quant;
  /** swiglu by default. */
  activation?: ExpertActivation | undefined;
  /** Whether each matrix has a bias; false by default. */
  bias?: boolean | undefined;
}

/** The shape of a model's experts in a format. What it leaves out is the default, so that shapes of the usual kind have no more keys. */
export function expertShape(
  { hiddenSize, moeIntermediateSize, expert }: Pick<ModelConfig, 'hiddenSize' | 'moeIntermediateSize' | 'expert'>,
  quant: Quant,
): ExpertShape {
  const { activation, bias } = expert;
  return {
    hiddenSize,
    moeIntermediateSize,
    quant,
    ...(activation !== 'swiglu' && { activation }),
    ...(bias && { bias }),
  };
}

/** Far above any model (V3: 7168 × 2048), but low enough for products of sizes to be exact integers. */
export const MAX_DIMENSION = 65_536;

export const QUANTS = ['f16', 'q8', 'q4', 'mxfp4'] as const;
export type Quant = (typeof QUANTS)[number];
export type MatrixName = 'gate' | 'up' | 'down';
export const MATRIX_NAMES: readonly MatrixName[] = ['gate', 'up', 'down'];

/**
 * Consecutive columns of a row that form a block. f16: 8 values fill one 16-byte load. q8: 32 int8 (two such loads) share one
 * f16 scale, as do q4's 32 nibbles (one load); mxfp4's 32 nibbles share a power of two of 8 bits. 32 divides every expert width
 * in use (V2-Lite's 1408 = 44 × 32), 256 does not.
 */
export const BLOCK_COLS: Readonly<Record<Quant, number>> = { f16: 8, q8: 32, q4: 32, mxfp4: 32 };

/** Bytes of a block's values and of its scale. */
const BLOCK_BYTES: Readonly<Record<Quant, { values: number; scale: number }>> = {
  f16: { values: 16, scale: 0 },
  q8: { values: 32, scale: 2 },
  q4: { values: 16, scale: 2 },
  mxfp4: { values: 16, scale: 1 },
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
   * q4 and mxfp4: [colBlocks][rows][16] bytes, column j of a block in byte j's low nibble and column j + 16 in its high one.
   * Column-block-major, since neighbouring threads compute neighbouring rows and thus read neighbouring 16 bytes.
   */
  valuesOffset: number;
  valuesBytes: number;
  /** q8 and q4: [colBlocks][rows] halves. mxfp4: [colBlocks][rows] bytes (E8M0). 0 bytes in f16. */
  scalesOffset: number;
  scalesBytes: number;
}

/** The place of one matrix's bias in a shard: [rows] f32. */
export interface BiasLayout {
  name: MatrixName;
  rows: number;
  offset: number;
  bytes: number;
}

export interface ShardLayout {
  /** Those that the kind has, in the order of MATRIX_NAMES. */
  matrices: readonly MatrixLayout[];
  /** Of the same matrices; empty in a model without biases. */
  biases: readonly BiasLayout[];
  /** Bytes of the whole shard, a multiple of 16. */
  totalBytes: number;
}

/** A shard's matrix of that name. Throws WeightsError `bad-shape` if the kind has none. */
export function matrixOf({ matrices }: ShardLayout, name: MatrixName): MatrixLayout {
  const found = matrices.find((matrix) => matrix.name === name);
  if (found) return found;
  throw new WeightsError('bad-shape', `experts of this kind have no ${name} matrix`);
}

/**
 * The layout of one expert's shard: gate [F, D] (unless the kind has none), up [F, D], down [D, F], each its values then its
 * scales, and then the biases (D = hiddenSize, F = moeIntermediateSize). Little-endian; columns are zero-padded to whole blocks,
 * sections to 16 bytes. Nothing in a dense model. Throws WeightsError `bad-shape`.
 */
export function shardLayout(shape: ExpertShape): ShardLayout {
  if (hasNoExperts(shape)) return { matrices: [], biases: [], totalBytes: 0 };
  const D = checkDimension('hiddenSize', shape.hiddenSize);
  const F = checkDimension('moeIntermediateSize', shape.moeIntermediateSize);
  const { activation = 'swiglu', bias = false, quant } = shape;
  if (!QUANTS.includes(quant)) throw unknown('quant', quant, QUANTS);
  if (!EXPERT_ACTIVATIONS.includes(activation)) throw unknown('activation', activation, EXPERT_ACTIVATIONS);
  let end = 0;
  const section = (bytes: number): number => {
    const offset = end;
    end += Math.ceil(bytes / SECTION_ALIGN_BYTES) * SECTION_ALIGN_BYTES;
    return offset;
  };
  const names = MATRIX_NAMES.filter((name) => name !== 'gate' || isGated(activation));
  const matrices = names.map((name): MatrixLayout => {
    const [rows, cols] = name === 'down' ? [D, F] : [F, D];
    const colBlocks = Math.ceil(cols / BLOCK_COLS[quant]);
    const valuesBytes = colBlocks * rows * BLOCK_BYTES[quant].values;
    const scalesBytes = colBlocks * rows * BLOCK_BYTES[quant].scale;
    const valuesOffset = section(valuesBytes);
    return { name, rows, cols, colBlocks, valuesOffset, valuesBytes, scalesOffset: section(scalesBytes), scalesBytes };
  });
  const biases = (bias ? matrices : []).map(({ name, rows }): BiasLayout => {
    const bytes = rows * Float32Array.BYTES_PER_ELEMENT;
    return { name, rows, offset: section(bytes), bytes };
  });
  return { matrices, biases, totalBytes: end };
}

/** Whether this is the shape of a dense model's experts, of which there are none. */
export function hasNoExperts({ moeIntermediateSize }: Pick<ExpertShape, 'moeIntermediateSize'>): boolean {
  return moeIntermediateSize === 0;
}

/** Bytes of one shard; 0 where there are none. */
export function shardBytes(shape: ExpertShape): number {
  return shardLayout(shape).totalBytes;
}

function checkDimension(name: string, size: number): number {
  if (!Number.isInteger(size) || size < 1 || size > MAX_DIMENSION) {
    throw new WeightsError('bad-shape', `${name} is ${size}; it must be an integer from 1 to ${MAX_DIMENSION}`);
  }
  return size;
}

function unknown(what: string, value: unknown, known: readonly string[]): WeightsError {
  return new WeightsError('bad-shape', `unknown ${what} ${String(value)}; use ${known.join(', ')}`);
}

/** Names the format and, if they are not the usual ones, the kind of experts, for messages to people. */
export function shapeText({ quant, activation = 'swiglu', bias = false }: ExpertShape): string {
  const kind = activation === 'swiglu' ? '' : ` ${activation}`;
  return `${quant}${kind}${bias ? ' with biases' : ''}`;
}
