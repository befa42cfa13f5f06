import { f16ToF32, f32ToF16 } from '@shoal/model';
import { WeightsError } from './errors.ts';
import { BLOCK_COLS, MATRIX_NAMES, shardLayout, type ExpertShape, type MatrixLayout } from './layout.ts';

/** One expert in float32, row-major: gate [F, D], up [F, D], down [D, F] (D = hiddenSize, F = moeIntermediateSize). */
export interface ExpertWeights {
  gate: Float32Array;
  up: Float32Array;
  down: Float32Array;
}

/** Largest magnitude of a quantised weight: symmetric, so −128 stays unused. */
const Q8_MAX = 127;

/**
 * One expert as the bytes of its shard (see `shardLayout`). f16 rounds to nearest even; q8 takes, per row and block of 32
 * columns, scale = absmax / 127 rounded to f16, and rounds w / scale with that rounded scale: |error| ≤ scale / 2.
 * Throws WeightsError `bad-shape` (a matrix of the wrong length) or `bad-weight` (NaN, ∞, or too large for f16), by name.
 */
export function packExpert(shape: ExpertShape, weights: ExpertWeights): Uint8Array<ArrayBuffer> {
  const layout = shardLayout(shape);
  const bytes = new Uint8Array(layout.totalBytes);
  for (const name of MATRIX_NAMES) {
    const matrix = layout[name];
    const source = weights[name];
    if (source.length !== matrix.rows * matrix.cols) {
      throw new WeightsError(
        'bad-shape',
        `${name} has ${source.length} weights; [${matrix.rows}, ${matrix.cols}] needs ${matrix.rows * matrix.cols}`,
      );
    }
    if (shape.quant === 'f16') packF16(matrix, source, bytes);
    else packQ8(matrix, source, bytes);
  }
  return bytes;
}

/**
 * The weights that a shard stands for, dequantised to float32: what every backend computes with.
 * Throws WeightsError `bad-shard` when the length is wrong.
 */
export function unpackExpert(shape: ExpertShape, shard: Uint8Array): ExpertWeights {
  const layout = shardLayout(shape);
  if (shard.byteLength !== layout.totalBytes) {
    throw new WeightsError(
      'bad-shard',
      `a ${shape.quant} shard of hiddenSize ${shape.hiddenSize} and moeIntermediateSize ${shape.moeIntermediateSize} ` +
        `has ${layout.totalBytes} bytes, this one ${shard.byteLength}`,
    );
  }
  // A Buffer may start anywhere in its pool; the views below want an even offset.
  const bytes = shard.byteOffset % 2 === 0 ? shard : shard.slice();
  const unpack = shape.quant === 'f16' ? unpackF16 : unpackQ8;
  return { gate: unpack(layout.gate, bytes), up: unpack(layout.up, bytes), down: unpack(layout.down, bytes) };
}

// The views below are in the platform's byte order, which is little-endian wherever Node and WebGPU run.
const valuesU16 = (matrix: MatrixLayout, bytes: Uint8Array): Uint16Array =>
  new Uint16Array(bytes.buffer, bytes.byteOffset + matrix.valuesOffset, matrix.valuesBytes / 2);
const valuesI8 = (matrix: MatrixLayout, bytes: Uint8Array): Int8Array =>
  new Int8Array(bytes.buffer, bytes.byteOffset + matrix.valuesOffset, matrix.valuesBytes);
const scalesU16 = (matrix: MatrixLayout, bytes: Uint8Array): Uint16Array =>
  new Uint16Array(bytes.buffer, bytes.byteOffset + matrix.scalesOffset, matrix.scalesBytes / 2);

function packF16(matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array): void {
  const { rows, cols } = matrix;
  const target = valuesU16(matrix, bytes);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const half = f32ToF16(source[row * cols + col]!);
      if ((half & 0x7c00) === 0x7c00) throw badWeight(matrix, source, row, col);
      target[f16Index(rows, row, col)] = half;
    }
  }
}

function unpackF16(matrix: MatrixLayout, bytes: Uint8Array): Float32Array {
  const { rows, cols } = matrix;
  const source = valuesU16(matrix, bytes);
  const target = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) target[row * cols + col] = f16ToF32(source[f16Index(rows, row, col)]!);
  }
  return target;
}

/** [colBlocks][rows][8] */
const f16Index = (rows: number, row: number, col: number): number => ((col >> 3) * rows + row) * 8 + (col & 7);
/** [colBlocks][2][rows][16] */
const q8Index = (rows: number, row: number, col: number): number => ((col >> 4) * rows + row) * 16 + (col & 15);

function packQ8(matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array): void {
  const { rows, cols, colBlocks } = matrix;
  const quants = valuesI8(matrix, bytes);
  const scales = scalesU16(matrix, bytes);
  for (let block = 0; block < colBlocks; block++) {
    const first = block * BLOCK_COLS.q8;
    const end = Math.min(cols, first + BLOCK_COLS.q8);
    for (let row = 0; row < rows; row++) {
      const scaleBits = q8Scale(matrix, source, row, first, end);
      const scale = f16ToF32(scaleBits);
      scales[block * rows + row] = scaleBits;
      if (scale === 0) continue;
      for (let col = first; col < end; col++) {
        quants[q8Index(rows, row, col)] = Math.round(source[row * cols + col]! / scale);
      }
    }
  }
}

/** The f16 bits of a block's scale: absmax / 127, nudged up where rounding down would push the largest weight past 127. */
function q8Scale(matrix: MatrixLayout, source: Float32Array, row: number, first: number, end: number): number {
  let absMax = 0;
  let largest = first;
  for (let col = first; col < end; col++) {
    const magnitude = Math.abs(source[row * matrix.cols + col]!);
    // Written so that NaN also becomes the largest, and is then refused.
    if (!(magnitude <= absMax)) {
      absMax = magnitude;
      largest = col;
      if (Number.isNaN(magnitude)) break;
    }
  }
  if (absMax === 0) return 0;
  let scaleBits = f32ToF16(absMax / Q8_MAX);
  if (!(Math.round(absMax / f16ToF32(scaleBits)) <= Q8_MAX)) scaleBits++;
  if ((scaleBits & 0x7c00) === 0x7c00) throw badWeight(matrix, source, row, largest);
  return scaleBits;
}

function unpackQ8(matrix: MatrixLayout, bytes: Uint8Array): Float32Array {
  const { rows, cols } = matrix;
  const quants = valuesI8(matrix, bytes);
  const scales = scalesU16(matrix, bytes);
  const target = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      target[row * cols + col] = quants[q8Index(rows, row, col)]! * f16ToF32(scales[(col >> 5) * rows + row]!);
    }
  }
  return target;
}

function badWeight(matrix: MatrixLayout, source: Float32Array, row: number, col: number): WeightsError {
  const value = source[row * matrix.cols + col]!;
  const why = Number.isFinite(value) ? 'too large for the packed format' : 'not a finite number';
  return new WeightsError('bad-weight', `${matrix.name}_proj[${row}, ${col}] is ${value}: ${why}`);
}
