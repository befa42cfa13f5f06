import { e2m1Of, E8M0_NAN, e8m0Of, MXFP4_BLOCK, type Mxfp4Rows } from '@shoal/model';
import { badWeight } from './bad-weight.ts';
import { WeightsError } from './errors.ts';
import { forEachBlock, HALF_BLOCK } from './format-blocks.ts';
import type { MatrixLayout } from './layout.ts';

/**
 * mxfp4 experts: w = element × 2^(scale − 127) (packages/model/src/mxfp4.ts), 4.25 bits per weight. Values
 * [colBlocks][rows][16 B]: byte j holds column j in its low nibble and column j + 16 in its high one, as q4 and GGUF's MXFP4 do.
 * Scales [colBlocks][rows] bytes.
 */

/** Exponent of the largest element, 6 = 1.5 × 2^2. */
const LARGEST_EXPONENT = 2;
/** Least and largest exponents of a scale. */
const MIN_EXPONENT = -127;
const MAX_EXPONENT = 127;

function sectionsOf(matrix: MatrixLayout, { buffer, byteOffset }: Uint8Array) {
  return {
    values: new Uint8Array(buffer, byteOffset + matrix.valuesOffset, matrix.valuesBytes),
    scales: new Uint8Array(buffer, byteOffset + matrix.scalesOffset, matrix.scalesBytes),
  };
}

/**
 * Rounds as the OCP MX specification 1.0 says (section 6.3): the scale is 2^(floor(log2 |largest|) − 2), elements are rounded to
 * nearest, ties to even, and saturate at 6. What was MXFP4 before keeps its values. Throws WeightsError `bad-weight` for NaN and ∞.
 */
export function packMxfp4(matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array, startRow: number): void {
  const { rows, cols } = matrix;
  const { values, scales } = sectionsOf(matrix, bytes);
  const codes = new Uint8Array(MXFP4_BLOCK);
  forEachBlock(matrix, startRow, source.length / cols, (block, row, from, numCols) => {
    const exponent = exponentOf(matrix, source, from, numCols, startRow);
    scales[block * rows + row] = exponent - MIN_EXPONENT;
    const inverse = 2 ** -exponent;
    for (let i = 0; i < numCols; i++) codes[i] = codeOf(source[from + i]! * inverse);
    codes.fill(0, numCols);
    writeCodes(codes, values, (block * rows + row) * HALF_BLOCK);
  });
}

function writeCodes(codes: Uint8Array, values: Uint8Array, at: number): void {
  for (let j = 0; j < HALF_BLOCK; j++) values[at + j] = codes[j]! | (codes[j + HALF_BLOCK]! << 4);
}

/** The exponent of a block's scale; the least one for a block of zeros. */
function exponentOf(matrix: MatrixLayout, source: Float32Array, from: number, numCols: number, startRow: number) {
  let absMax = 0;
  for (let i = from; i < from + numCols; i++) {
    const magnitude = Math.abs(source[i]!);
    if (!(magnitude < Number.POSITIVE_INFINITY)) throw badWeight(matrix, source, i, startRow);
    if (magnitude > absMax) absMax = magnitude;
  }
  if (absMax === 0) return MIN_EXPONENT;
  return Math.min(MAX_EXPONENT, Math.max(MIN_EXPONENT, floorLog2(absMax) - LARGEST_EXPONENT));
}

/** Exact: Math.log2 may round up just below a power of two. */
function floorLog2(value: number): number {
  const exponent = Math.floor(Math.log2(value));
  return 2 ** exponent > value ? exponent - 1 : 2 ** (exponent + 1) <= value ? exponent + 1 : exponent;
}

/** The code nearest to a weight in units of its scale: halves between neighbours go to the code that is even. */
function codeOf(value: number): number {
  const magnitude = Math.abs(value);
  const code =
    magnitude <= 1.75
      ? // Steps of 1/2, up to the tie between 1.5 (code 3) and 2 (code 4).
        nearestEven(2 * magnitude)
      : magnitude <= 3.5
        ? 2 + nearestEven(magnitude)
        : 4 + nearestEven(Math.min(magnitude, 6) / 2);
  return value < 0 || Object.is(value, -0) ? code | 8 : code;
}

function nearestEven(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

/**
 * Copies rows that are MXFP4 already, from `startRow` on, without any rounding. Throws WeightsError `bad-weight` for a scale that
 * is NaN, and for a weight beyond float32, in which every backend computes.
 */
export function packMxfp4Rows(matrix: MatrixLayout, source: Mxfp4Rows, bytes: Uint8Array, startRow: number): void {
  const { rows, cols, colBlocks } = matrix;
  const rowBytes = Math.ceil(cols / 2);
  const numRows = source.codes.length / rowBytes;
  if (!Number.isInteger(numRows) || source.scales.length !== numRows * colBlocks) {
    const found = `${source.codes.length} bytes of codes and ${source.scales.length} scales`;
    throw new WeightsError('bad-shape', `${matrix.name}_proj: ${found} are no whole rows of ${cols} MXFP4 columns`);
  }
  const { values, scales } = sectionsOf(matrix, bytes);
  const codes = new Uint8Array(MXFP4_BLOCK);
  for (let row = 0; row < numRows; row++) {
    for (let block = 0; block < colBlocks; block++) {
      const scale = source.scales[row * colBlocks + block]!;
      const firstCol = block * MXFP4_BLOCK;
      const numCols = Math.min(MXFP4_BLOCK, cols - firstCol);
      for (let i = 0; i < numCols; i++) {
        const pair = source.codes[row * rowBytes + ((firstCol + i) >> 1)]!;
        codes[i] = i & 1 ? pair >> 4 : pair & 15;
      }
      codes.fill(0, numCols);
      refuseBeyondFloat(matrix, codes, scale, startRow + row, firstCol);
      scales[block * rows + startRow + row] = scale;
      writeCodes(codes, values, (block * rows + startRow + row) * HALF_BLOCK);
    }
  }
}

/** 2^126: with smaller scales even the largest element is within float32. */
const FIRST_LARGE_SCALE = 253;

function refuseBeyondFloat(matrix: MatrixLayout, codes: Uint8Array, scale: number, row: number, firstCol: number) {
  if (scale < FIRST_LARGE_SCALE) return;
  const bad =
    scale === E8M0_NAN ? 0 : codes.findIndex((code) => !Number.isFinite(Math.fround(e2m1Of(code) * e8m0Of(scale))));
  if (bad < 0) return;
  const why = scale === E8M0_NAN ? 'has a scale that is NaN (E8M0 255)' : 'is too large for float32';
  throw new WeightsError('bad-weight', `${matrix.name}_proj[${row}, ${firstCol + bad}] ${why}`);
}

/** [numRows, cols], from `startRow` on. */
export function unpackMxfp4(matrix: MatrixLayout, bytes: Uint8Array, startRow: number, numRows: number): Float32Array {
  const { rows, cols } = matrix;
  const { values, scales } = sectionsOf(matrix, bytes);
  const target = new Float32Array(numRows * cols);
  forEachBlock(matrix, startRow, numRows, (block, row, to, numCols) => {
    const scale = e8m0Of(scales[block * rows + row]!);
    const from = (block * rows + row) * HALF_BLOCK;
    const lowCols = Math.min(HALF_BLOCK, numCols);
    for (let j = 0; j < lowCols; j++) target[to + j] = e2m1Of(values[from + j]!) * scale;
    for (let j = HALF_BLOCK; j < numCols; j++) target[to + j] = e2m1Of(values[from + j - HALF_BLOCK]! >> 4) * scale;
  });
  return target;
}
