import type { KvCache } from './kv-cache.ts';
import type { RopeAngles } from './rope.ts';

/** Where a row of the batch stands: its position in its sequence's cache. */
export interface RowPlace {
  position: number;
  cache: KvCache;
}

export interface AttentionInput {
  /** [numRows, hiddenSize], normalised. */
  x: Float32Array;
  hiddenSize: number;
  rows: readonly RowPlace[];
  angles: RopeAngles;
  /** This layer's place in the caches. */
  cacheLayer: number;
  rmsNormEps: number;
}

/**
 * One kind of attention: → [numRows, hiddenSize]. Writes what it keeps of each row into the row's cache at (`cacheLayer`,
 * position), then lets the row attend to all positions ≤ its own. A row's result is bit for bit independent of other sequences.
 */
export type Attention<Config, Weights> = (config: Config, weights: Weights, input: AttentionInput) => Float32Array;
