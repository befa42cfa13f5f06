import type { RopeConfig } from './model-config.ts';

/** Cosines and sines for a batch of positions, multiplied by the configured attention factor. */
export interface RopeAngles {
  /** [numRows, dim / 2] */
  cos: Float64Array;
  /** [numRows, dim / 2] */
  sin: Float64Array;
  /** Values rotated per head. */
  dim: number;
  pairs: RopeConfig['pairs'];
}

/** Angles position × inverse frequency (Su et al. 2021, eq. 15), in float64: at position 10⁵ float32 would be off by 10⁻² rad. */
export function ropeAngles(positions: readonly number[], rope: RopeConfig): RopeAngles {
  const { inverseFrequencies, attentionFactor, dim, pairs } = rope;
  const numAssignments = dim / 2;
  const cos = new Float64Array(positions.length * numAssignments);
  const sin = new Float64Array(positions.length * numAssignments);
  for (const [row, position] of positions.entries()) {
    for (let i = 0; i < numAssignments; i++) {
      const angle = position * inverseFrequencies[i]!;
      cos[row * numAssignments + i] = attentionFactor * Math.cos(angle);
      sin[row * numAssignments + i] = attentionFactor * Math.sin(angle);
    }
  }
  return { cos, sin, dim, pairs };
}

/** Rotate the pairs of the `dim` values from `start`, in place, by the angles of `row`. */
export function rotate(x: Float32Array, start: number, angles: RopeAngles, row: number): void {
  const numAssignments = angles.dim / 2;
  const interleaved = angles.pairs === 'interleaved';
  /** From one pair to the next, and from a pair's first value to its second. */
  const [step, apart] = interleaved ? [2, 1] : [1, numAssignments];
  for (let i = 0; i < numAssignments; i++) {
    const cos = angles.cos[row * numAssignments + i]!;
    const sin = angles.sin[row * numAssignments + i]!;
    const first = start + i * step;
    const a = x[first]!;
    const b = x[first + apart]!;
    x[first] = a * cos - b * sin;
    x[first + apart] = a * sin + b * cos;
  }
}
