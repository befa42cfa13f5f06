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

/** Angles position × inverse frequency (Su et al. 2021, eq. 15), in float64: at position 10⁵ a float32 would err by 10⁻² rad. */
export function ropeAngles(positions: readonly number[], rope: RopeConfig): RopeAngles {
  const { inverseFrequencies, attentionFactor, dim, pairs } = rope;
  const numPairs = dim / 2;
  const cos = new Float64Array(positions.length * numPairs);
  const sin = new Float64Array(positions.length * numPairs);
  for (const [row, position] of positions.entries()) {
    for (let i = 0; i < numPairs; i++) {
      const angle = position * inverseFrequencies[i]!;
      cos[row * numPairs + i] = attentionFactor * Math.cos(angle);
      sin[row * numPairs + i] = attentionFactor * Math.sin(angle);
    }
  }
  return { cos, sin, dim, pairs };
}

/** Rotates the pairs of the `dim` values from `start`, in place, by the angles of `row`. */
export function rotate(x: Float32Array, start: number, angles: RopeAngles, row: number): void {
  const numPairs = angles.dim / 2;
  const interleaved = angles.pairs === 'interleaved';
  // Distances from one pair to the next, and from a pair's first value to its second.
  const [step, apart] = interleaved ? [2, 1] : [1, numPairs];
  for (let i = 0; i < numPairs; i++) {
    const cos = angles.cos[row * numPairs + i]!;
    const sin = angles.sin[row * numPairs + i]!;
    const first = start + i * step;
    const a = x[first]!;
    const b = x[first + apart]!;
    x[first] = a * cos - b * sin;
    x[first + apart] = a * sin + b * cos;
  }
}
