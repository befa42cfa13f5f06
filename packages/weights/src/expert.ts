import { WeightsError } from './errors.ts';
import { packF16, unpackF16 } from './format-f16.ts';
import { packQ4, unpackQ4 } from './format-q4.ts';
import { packQ8, unpackQ8 } from './format-q8.ts';
import { MATRIX_NAMES, shardLayout, type ExpertShape, type MatrixLayout, type Quant } from './layout.ts';

/** One expert in float32, row-major: gate [F, D], up [F, D], down [D, F] (D = hiddenSize, F = moeIntermediateSize). */
export interface ExpertWeights {
  gate: Float32Array;
  up: Float32Array;
  down: Float32Array;
}

interface Format {
  /** Writes the rows of `source`, which are the matrix's from `startRow` on, into the shard `bytes`. */
  pack: (matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array, startRow: number) => void;
  unpack: (matrix: MatrixLayout, bytes: Uint8Array, startRow: number, numRows: number) => Float32Array;
}

const FORMATS: Readonly<Record<Quant, Format>> = {
  f16: { pack: packF16, unpack: unpackF16 },
  q8: { pack: packQ8, unpack: unpackQ8 },
  q4: { pack: packQ4, unpack: unpackQ4 },
};

/**
 * Packs one expert as its shard (see `shardLayout`, and format-*.ts for how each format rounds).
 * Throws WeightsError `bad-shape` (a matrix of the wrong length) or `bad-weight` (NaN, ∞, or too large for f16).
 */
export function packExpert(shape: ExpertShape, weights: ExpertWeights): Uint8Array<ArrayBuffer> {
  const layout = shardLayout(shape);
  const bytes = new Uint8Array(layout.totalBytes);
  for (const name of MATRIX_NAMES) {
    const matrix = layout[name];
    const source = weights[name];
    const { rows, cols } = matrix;
    if (source.length !== rows * cols) {
      const problem = `${name} has ${source.length} weights, but [${rows}, ${cols}] needs ${rows * cols}`;
      throw new WeightsError('bad-shape', problem);
    }
    FORMATS[shape.quant].pack(matrix, source, bytes, 0);
  }
  return bytes;
}

/**
 * Unpacks a shard: its weights dequantised to float32, with which every backend computes.
 * Throws WeightsError `bad-shard` if its length is wrong.
 */
export function unpackExpert(shape: ExpertShape, shard: Uint8Array): ExpertWeights {
  const layout = shardLayout(shape);
  if (shard.byteLength !== layout.totalBytes) {
    const { quant, hiddenSize, moeIntermediateSize } = shape;
    const expected = `a ${quant} shard of ${hiddenSize} × ${moeIntermediateSize} has ${layout.totalBytes} bytes`;
    throw new WeightsError('bad-shard', `${expected}, but this one has ${shard.byteLength}`);
  }
  // A Buffer may start anywhere in its pool, but the views below need an even offset.
  const bytes = shard.byteOffset % 2 === 0 ? shard : shard.slice();
  const { unpack } = FORMATS[shape.quant];
  const whole = (matrix: MatrixLayout): Float32Array => unpack(matrix, bytes, 0, matrix.rows);
  return { gate: whole(layout.gate), up: whole(layout.up), down: whole(layout.down) };
}

/**
 * Packs rows `source` [n, cols] of one matrix, from `startRow` on, into a shard that begins as zeros.
 * Calls for all rows of all matrices give the shard of `packExpert`. Throws WeightsError `bad-weight`.
 */
export function packExpertRows(
  quant: Quant,
  matrix: MatrixLayout,
  source: Float32Array,
  shard: Uint8Array,
  startRow: number,
): void {
  FORMATS[quant].pack(matrix, source, shard, startRow);
}

/** Unpacks some rows of a matrix in a shard, [numRows, cols]. */
export function unpackExpertRows(
  quant: Quant,
  matrix: MatrixLayout,
  shard: Uint8Array,
  startRow: number,
  numRows: number,
): Float32Array {
  return FORMATS[quant].unpack(matrix, shard, startRow, numRows);
}
