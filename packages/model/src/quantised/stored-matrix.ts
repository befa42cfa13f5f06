import type { TensorSpec } from '../tensors.ts';
import type { StoredMatrix } from './encoding.ts';

/** Where a tensor of the model is in what is stored. */
export interface StoredPlace {
  /** What is stored in the place of the tensor: a matrix of its own or an entry of a stack. */
  matrix: StoredMatrix;
  /** The entry of a stack of `size`. */
  stack: { index: number; size: number } | undefined;
  /** The stored row of the tensor's first row, and how far its rows are apart. */
  first: number;
  step: number;
}

/** `numExperts` is the usual size of a stack. */
export function storedPlace({ shape, stored }: TensorSpec, numExperts: number): StoredPlace {
  const { name, index, of: size = numExperts, rows, transposed = false } = stored;
  const isVector = shape.length === 1;
  const own = shape[0] ?? 1;
  const cols = shape.slice(1).reduce((product, length) => product * length, 1);
  return {
    // Part of the rows means every second one, or either half.
    matrix: { name, rows: rows ? 2 * own : own, cols, isVector, transposed: transposed && !isVector },
    stack: index === undefined ? undefined : { index, size },
    first: rows?.first ?? 0,
    step: rows?.step ?? 1,
  };
}

/** The shape in which a checkpoint stores the tensor that a spec is (part of), where it is plain. */
export function storedShape(spec: TensorSpec, numExperts: number): readonly number[] {
  const { matrix, stack } = storedPlace(spec, numExperts);
  return stack ? [stack.size, ...plainShape(matrix)] : plainShape(matrix);
}

export function plainShape({ rows, cols, isVector, transposed }: StoredMatrix): number[] {
  if (isVector) return [rows];
  return transposed ? [cols, rows] : [rows, cols];
}
