import type { TensorSpec } from './tensors.ts';

/** The shape that a stored tensor must have for a spec to be (part of) it; `numExperts` is the usual size of a stack. */
export function storedShape({ shape, stored }: TensorSpec, numExperts: number): readonly number[] {
  const [rows, ...columns] = shape;
  // Part of the rows means every second one, or either half.
  const all = rows === undefined ? [] : [stored.rows ? 2 * rows : rows, ...columns];
  const part = stored.transposed ? all.reverse() : all;
  return stored.index === undefined ? part : [stored.of ?? numExperts, ...part];
}
