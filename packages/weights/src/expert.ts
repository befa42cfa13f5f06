import type { ExpertWeights, Mxfp4Rows, SwigluWeights } from '@shoal/model';
import { WeightsError } from './errors.ts';
import { packF16, unpackF16 } from './format-f16.ts';
import { packMxfp4, packMxfp4Rows, unpackMxfp4 } from './format-mxfp4.ts';
import { packQ4, unpackQ4 } from './format-q4.ts';
import { packQ8, unpackQ8 } from './format-q8.ts';
import {
  type BiasLayout,
  type ExpertShape,
  type MatrixLayout,
  type MatrixName,
  type Quant,
  shapeText,
  shardLayout,
} from './layout.ts';

interface Format {
  /** Writes the rows of `source`, which are the matrix's from `startRow` on, into the shard `bytes`. */
  pack: (matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array, startRow: number) => void;
  unpack: (matrix: MatrixLayout, bytes: Uint8Array, startRow: number, numRows: number) => Float32Array;
}

const FORMATS: Readonly<Record<Quant, Format>> = {
  f16: { pack: packF16, unpack: unpackF16 },
  q8: { pack: packQ8, unpack: unpackQ8 },
  q4: { pack: packQ4, unpack: unpackQ4 },
  mxfp4: { pack: packMxfp4, unpack: unpackMxfp4 },
};

/**
 * Packs one expert as its shard (see `shardLayout`, and format-*.ts for how each format rounds).
 * Throws WeightsError `bad-shape` (a matrix or a bias missing or of the wrong length) or `bad-weight` (NaN, ∞, or too large for
 * the format).
 */
export function packExpert(shape: ExpertShape, weights: ExpertWeights | SwigluWeights): Uint8Array<ArrayBuffer> {
  const layout = shardLayout(shape);
  const bytes = new Uint8Array(layout.totalBytes);
  for (const matrix of layout.matrices) {
    const source = weights[matrix.name];
    const { rows, cols } = matrix;
    if (source?.length !== rows * cols) {
      const problem = `${matrix.name} has ${source?.length ?? 0} weights, but [${rows}, ${cols}] needs ${rows * cols}`;
      throw new WeightsError('bad-shape', problem);
    }
    FORMATS[shape.quant].pack(matrix, source, bytes, 0);
  }
  const biases = 'biases' in weights ? weights.biases : null;
  for (const bias of layout.biases) packExpertBias(bias, biases?.[bias.name] ?? new Float32Array(0), bytes);
  return bytes;
}

/**
 * Unpacks a shard: its weights dequantised to float32, with which every backend computes.
 * Throws WeightsError `bad-shard` if its length is wrong.
 */
export function unpackExpert(shape: ExpertShape, shard: Uint8Array): ExpertWeights {
  const layout = shardLayout(shape);
  if (shard.byteLength !== layout.totalBytes) {
    const { hiddenSize, moeIntermediateSize } = shape;
    const size = `${hiddenSize} × ${moeIntermediateSize} has ${layout.totalBytes} bytes`;
    throw new WeightsError('bad-shard', `a ${shapeText(shape)} shard of ${size}, but this one has ${shard.byteLength}`);
  }
  // A Buffer may start anywhere in its pool, but the views below need an even offset.
  const bytes = shard.byteOffset % 4 === 0 ? shard : shard.slice();
  const matrix = (name: MatrixName): Float32Array | null => {
    const found = layout.matrices.find((each) => each.name === name);
    return found ? FORMATS[shape.quant].unpack(found, bytes, 0, found.rows) : null;
  };
  const bias = (name: MatrixName): Float32Array | null => {
    const found = layout.biases.find((each) => each.name === name);
    return found ? new Float32Array(bytes.buffer, bytes.byteOffset + found.offset, found.rows).slice() : null;
  };
  const biases = shape.bias ? { gate: bias('gate'), up: bias('up')!, down: bias('down')! } : null;
  return { gate: matrix('gate'), up: matrix('up')!, down: matrix('down')!, biases };
}

/**
 * Packs rows `source` [n, cols] of one matrix, from `startRow` on, into a shard that begins as zeros.
 * Calls for all rows of all matrices, and for all biases, give the shard of `packExpert`. Throws WeightsError `bad-weight`.
 */
export function packExpertRows(
  quant: Quant,
  matrix: MatrixLayout,
  source: Float32Array | Mxfp4Rows,
  shard: Uint8Array,
  startRow: number,
): void {
  if (source instanceof Float32Array) FORMATS[quant].pack(matrix, source, shard, startRow);
  else packMxfp4Rows(matrix, source, shard, startRow);
}

/** Packs a bias, unrounded. Throws WeightsError `bad-shape` or `bad-weight`. */
export function packExpertBias(bias: BiasLayout, source: Float32Array, shard: Uint8Array): void {
  if (source.length !== bias.rows) {
    throw new WeightsError('bad-shape', `${bias.name}'s bias has ${source.length} values instead of ${bias.rows}`);
  }
  const bad = source.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new WeightsError('bad-weight', `${bias.name}_proj.bias[${bad}] is ${source[bad]}: not finite`);
  new Float32Array(shard.buffer, shard.byteOffset + bias.offset, bias.rows).set(source);
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
