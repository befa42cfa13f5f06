/** Context extension by YaRN (Peng et al. 2023, arXiv 2309.00071). */
export interface Yarn {
  /** Context after ÷ before. */
  factor: number;
  /** Context before. */
  originalMaxPositionEmbeddings: number;
  /** Pairs that rotate more often than this over the original context keep their frequency. */
  betaFast: number;
  /** Pairs that rotate less often than this are slowed by the whole factor. */
  betaSlow: number;
  mscale: number;
  /** DeepSeek's; 0 if it is not set. */
  mscaleAllDim: number;
  /** Overrides the value that follows from `mscale` and `mscaleAllDim`. */
  attentionFactor: number | undefined;
  /** Whether the ends of the ramp are whole pairs (the published code), or lie between two (gpt-oss). */
  truncate: boolean;
}

/** The attention temperature (YaRN §3.4, eq. 22): 0.1 · mscale · ln(factor) + 1. */
export function yarnMscale(factor: number, mscale: number): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

/** θ^(-2i/dim) for every pair i, [dim / 2] (Su et al. 2021). */
export function plainFrequencies(theta: number, dim: number): Float64Array {
  return Float64Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
}

/**
 * Plain frequencies [dim / 2] blended with the same ÷ factor, by a linear ramp between the pairs that rotate `betaFast` and
 * `betaSlow` times over the original context (§3.2 "NTK-by-parts").
 */
export function yarnFrequencies(frequencies: Float64Array, theta: number, yarn: Yarn): Float64Array {
  const dim = 2 * frequencies.length;
  /** The pair that rotates r times over the original context. */
  const pairTurning = (r: number): number =>
    (dim * Math.log(yarn.originalMaxPositionEmbeddings / (2 * Math.PI * r))) / (2 * Math.log(theta));
  const [first, last] = [pairTurning(yarn.betaFast), pairTurning(yarn.betaSlow)];
  const low = Math.max(yarn.truncate ? Math.floor(first) : first, 0);
  const high = Math.min(yarn.truncate ? Math.ceil(last) : last, dim - 1);
  // The published code widens an empty ramp by this.
  const width = low === high ? 0.001 : high - low;
  return frequencies.map((frequency, i) => {
    const slowed = Math.min(Math.max((i - low) / width, 0), 1);
    return frequency * (1 - slowed) + (frequency / yarn.factor) * slowed;
  });
}
