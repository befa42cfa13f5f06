import { WeightsError } from './errors.ts';
import type { MatrixLayout } from './layout.ts';

/** What a packer says of the weight at `index` of a row-major matrix. */
export function badWeight(matrix: MatrixLayout, source: Float32Array, index: number): WeightsError {
  const value = source[index]!;
  const why = Number.isFinite(value) ? 'too large for the packed format' : 'not a finite number';
  const [row, col] = [Math.floor(index / matrix.cols), index % matrix.cols];
  return new WeightsError('bad-weight', `${matrix.name}_proj[${row}, ${col}] is ${value}: ${why}`);
}
