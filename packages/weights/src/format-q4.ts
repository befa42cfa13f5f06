import { f16ToF32, f32ToF16 } from '@shoal/model';
import { badWeight } from './bad-weight.ts';
import { BLOCK, forEachBlock, HALF_BLOCK, sectionsOf } from './format-blocks.ts';
import type { MatrixLayout } from './layout.ts';

/**
 * q4 experts: w = scale × (n − 8), n in 0..15, one scale (of either sign) for 32 columns of a row: 4.5 bits per weight. Values
 * [colBlocks][rows][16 B]: byte j holds column j in its low nibble and column j + 16 in its high one, as GGUF's Q4_0 does,
 * so that `word & 0x0f0f0f0f` and `(word >> 4) & 0x0f0f0f0f` are four neighbouring columns each. Scales [colBlocks][rows]
 * halves.
 */

/** Both nibbles 8: two zeros. */
const ZERO_PAIR = 0x88;

/**
 * The largest weight of a block in units of the scales that are tried, before each is refitted. GGUF's Q4_0 has only −8; at a
 * larger magnitude the block gets finer steps and its largest weight is clipped, at a smaller one coarser steps.
 */
const LARGEST_AT_STEPS = [-8, -7, -7.5, -8.4, -8.8, 7, 7.4];

/**
 * Per block: some scales are refitted to the codes that they give; the one with the least squared error is rounded to f16, and
 * the codes are the nearest under that rounded scale. Never worse than Q4_0's rule (scale = largest / −8).
 * Throws WeightsError `bad-weight` for NaN, ∞ and a scale that overflows.
 */
export function packQ4(matrix: MatrixLayout, source: Float32Array, bytes: Uint8Array, startRow: number): void {
  const { rows, cols } = matrix;
  const { values, scales } = sectionsOf(matrix, bytes);
  const weights = new Float64Array(BLOCK);
  forEachBlock(matrix, startRow, source.length / cols, (block, row, from, numCols) => {
    for (let i = 0; i < numCols; i++) weights[i] = source[from + i]!;
    weights.fill(0, numCols);
    const scaleBits = q4ScaleBits(weights);
    if ((scaleBits & 0x7c00) === 0x7c00) throw badWeight(matrix, source, from + largestOf(weights), startRow);
    scales[block * rows + row] = scaleBits;
    writeCodes(weights, f16ToF32(scaleBits), values, (block * rows + row) * HALF_BLOCK);
  });
}

function writeCodes(block: Float64Array, scale: number, values: Uint8Array, at: number): void {
  if (scale === 0) {
    values.fill(ZERO_PAIR, at, at + HALF_BLOCK);
    return;
  }
  const inverse = 1 / scale;
  for (let j = 0; j < HALF_BLOCK; j++) {
    values[at + j] = codeOf(block[j]! * inverse) | (codeOf(block[j + HALF_BLOCK]! * inverse) << 4);
  }
}

/** The code nearest to a weight in units of its scale. */
function codeOf(steps: number): number {
  const shifted = steps + 8.5;
  return shifted < 0 ? 0 : shifted > 15 ? 15 : shifted | 0;
}

/** The f16 bits of the best scale for 32 weights, or those of NaN or ∞ if there is none. */
function q4ScaleBits(block: Float64Array): number {
  const largest = block[largestOf(block)]!;
  if (largest === 0) return 0;
  if (!Number.isFinite(largest)) return f32ToF16(largest);
  const plainBits = f32ToF16(largest / -8);
  const refitted = refittedScale(block, largest);
  const refittedBits = f32ToF16(refitted);
  if (refittedBits === plainBits || (refittedBits & 0x7c00) === 0x7c00) return plainBits;
  const isBetter = squaredError(block, f16ToF32(refittedBits)) < squaredError(block, f16ToF32(plainBits));
  return isBetter ? refittedBits : plainBits;
}

/** Index of the weight with the largest magnitude, or of the first NaN. */
function largestOf(block: Float64Array): number {
  let absMax = 0;
  let largest = 0;
  for (let i = 0; i < BLOCK; i++) {
    const magnitude = Math.abs(block[i]!);
    if (!(magnitude <= absMax)) {
      if (Number.isNaN(magnitude)) return i;
      absMax = magnitude;
      largest = i;
    }
  }
  return largest;
}

/**
 * For given codes m = n − 8, Σ (w − s·m)² is least at s = Σ w·m / Σ m², where it is Σ w² − (Σ w·m)² / Σ m², so the best codes
 * have the largest (Σ w·m)² / Σ m².
 */
function refittedScale(block: Float64Array, largest: number): number {
  let bestScale = largest / -8;
  let bestGain = 0;
  for (let candidate = 0; candidate < LARGEST_AT_STEPS.length; candidate++) {
    const inverse = LARGEST_AT_STEPS[candidate]! / largest;
    let sumWeightCode = 0;
    let sumCodeCode = 0;
    for (let i = 0; i < BLOCK; i++) {
      const weight = block[i]!;
      const code = codeOf(weight * inverse) - 8;
      sumWeightCode += weight * code;
      sumCodeCode += code * code;
    }
    const gain = (sumWeightCode * sumWeightCode) / sumCodeCode;
    if (gain > bestGain) {
      bestGain = gain;
      bestScale = sumWeightCode / sumCodeCode;
    }
  }
  return bestScale;
}

function squaredError(block: Float64Array, scale: number): number {
  const inverse = scale === 0 ? 0 : 1 / scale;
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) {
    const error = block[i]! - (codeOf(block[i]! * inverse) - 8) * scale;
    sum += error * error;
  }
  return sum;
}

/** [numRows, cols], from `startRow` on. */
export function unpackQ4(matrix: MatrixLayout, bytes: Uint8Array, startRow: number, numRows: number): Float32Array {
  const { rows, cols } = matrix;
  const { values, scales } = sectionsOf(matrix, bytes);
  const target = new Float32Array(numRows * cols);
  forEachBlock(matrix, startRow, numRows, (block, row, to, numCols) => {
    const scale = f16ToF32(scales[block * rows + row]!);
    const from = (block * rows + row) * HALF_BLOCK;
    const lowCols = Math.min(HALF_BLOCK, numCols);
    for (let j = 0; j < lowCols; j++) target[to + j] = ((values[from + j]! & 15) - 8) * scale;
    for (let j = HALF_BLOCK; j < numCols; j++) target[to + j] = ((values[from + j - HALF_BLOCK]! >> 4) - 8) * scale;
  });
  return target;
}
