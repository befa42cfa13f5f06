import { WeightsError } from './errors.ts';
import type { MatrixLayout } from './layout.ts';

/** The error for the weight at `index` of `source`, which holds a matrix's rows from `startRow` on. */
export function badWeight(matrix: MatrixLayout, source: Float32Array, index: number, startRow: number): WeightsError {
  const value = source[index]!;
  const why = Number.isFinite(value) ? 'too large for the packed format' : 'not finite';
  const [row, col] = [startRow + Math.floor(index / matrix.cols), index % matrix.cols];
  return new WeightsError('bad-weight', `${matrix.name}_proj[${row}, ${col}] is ${value}: ${why}`);
}
