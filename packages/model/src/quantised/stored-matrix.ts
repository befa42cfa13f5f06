import type { TensorSpec } from '../tensors.ts';
import type { StoredMatrix } from './encoding.ts';

/** An entry of a stack of `size`; `flat`: the entries are rows of one matrix. */
export interface Stack {
  index: number;
  size: number;
  flat: boolean;
}

/** Where a tensor of the model is in what is stored. */
export interface StoredPlace {
  /** What is stored in the place of the tensor: a matrix of its own or an entry of a stack. */
  matrix: StoredMatrix;
  /** Undefined where it is in none. */
  stack: Stack | undefined;
  /** The stored row of the tensor's first row, and how far its rows are apart. */
  first: number;
  step: number;
}

/** `numExperts` is the usual size of a stack. */
export function storedPlace({ shape, stored }: TensorSpec, numExperts: number): StoredPlace {
  const { name, index, of: size = numExperts, flat = false, rows, transposed = false } = stored;
  const isVector = shape.length === 1;
  const own = shape[0] ?? 1;
  const cols = shape.slice(1).reduce((product, length) => product * length, 1);
  return {
    // By default, part of the rows means every second one, or either half.
    matrix: { name, rows: rows ? (rows.parts ?? 2) * own : own, cols, isVector, transposed: transposed && !isVector },
    stack: index === undefined ? undefined : { index, size, flat },
    first: rows?.first ?? 0,
    step: rows?.step ?? 1,
  };
}

/** The shape in which a checkpoint stores the tensor that a spec is (part of), where it is plain. */
export function storedShape(spec: TensorSpec, numExperts: number): readonly number[] {
  const { matrix, stack } = storedPlace(spec, numExperts);
  return stackedShape(stack, plainShape(matrix));
}

/** The shape of what is stored, where an entry of it has `shape`. */
export function stackedShape(stack: Stack | undefined, shape: readonly number[]): readonly number[] {
  if (!stack) return shape;
  const [first = 1, ...others] = shape;
  return stack.flat ? [stack.size * first, ...others] : [stack.size, ...shape];
}

export function plainShape({ rows, cols, isVector, transposed }: StoredMatrix): number[] {
  if (isVector) return [rows];
  return transposed ? [cols, rows] : [rows, cols];
}
