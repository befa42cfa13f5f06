/** Cosines and sines for a batch of positions. */
export interface RopeAngles {
  /** [numRows, ropeDim / 2] */
  cos: Float64Array;
  /** [numRows, ropeDim / 2] */
  sin: Float64Array;
  ropeDim: number;
}

/** Angles position · θ^(-2i/d) (Su et al. 2021, eq. 15), in float64: at position 10⁵ float32 would be off by 10⁻² rad. */
export function ropeAngles(positions: readonly number[], ropeDim: number, theta: number): RopeAngles {
  const pairs = ropeDim / 2;
  const cos = new Float64Array(positions.length * pairs);
  const sin = new Float64Array(positions.length * pairs);
  for (const [row, position] of positions.entries()) {
    for (let i = 0; i < pairs; i++) {
      const angle = position * theta ** ((-2 * i) / ropeDim);
      cos[row * pairs + i] = Math.cos(angle);
      sin[row * pairs + i] = Math.sin(angle);
    }
  }
  return { cos, sin, ropeDim };
}

/**
 * Rotate the pairs (x0, x1), (x2, x3), … of `ropeDim` values from `start`, in place, by the angles of `row`.
 * DeepSeek checkpoints store interleaved pairs; other families rotate halves.
 */
export function rotateInterleaved(x: Float32Array, start: number, angles: RopeAngles, row: number): void {
  const pairs = angles.ropeDim / 2;
  for (let i = 0; i < pairs; i++) {
    const cos = angles.cos[row * pairs + i]!;
    const sin = angles.sin[row * pairs + i]!;
    const a = x[start + 2 * i]!;
    const b = x[start + 2 * i + 1]!;
    x[start + 2 * i] = a * cos - b * sin;
    x[start + 2 * i + 1] = a * sin + b * cos;
  }
}
