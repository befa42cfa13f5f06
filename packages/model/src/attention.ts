import type { LayerAdapters } from './adapters/layer-adapters.ts';
import type { KvCache, RowSlots } from './kv-cache.ts';
import type { AttentionSpan, LayerAttention } from './model-config.ts';
import type { RopeAngles } from './rope.ts';
import type { PositionBias } from './seq2seq/positions.ts';

/** A row's position in its sequence, that sequence's cache, and where in it the last positions lie, as `RowSlots` says. */
export interface RowPlace {
  position: number;
  cache: KvCache;
  slots?: RowSlots;
  /** The last position that it attends to, which lies in its own place; by default its own position. Grouped-query attention only. */
  last?: number | undefined;
}

/** Where a row's own keys and values lie. */
export function slotOf({ position, slots }: Pick<RowPlace, 'position' | 'slots'>): number {
  return slots?.at(-1) ?? position;
}

export interface AttentionInput {
  /** [numRows, hiddenSize], normalised; in the first layer of an EAGLE-3 head twice as wide. */
  x: Float32Array;
  hiddenSize: number;
  rows: readonly RowPlace[];
  angles: RopeAngles;
  /** This layer's place in the caches. */
  cacheLayer: number;
  rmsNormEps: number;
  /** What this layer's rows attend to. */
  layer: LayerAttention;
  /** What is added to the scores, by distance; grouped-query attention only. */
  positionBias?: PositionBias | undefined;
  /** What the rows' adapters add to the projections; undefined if no row has an adapter. */
  adapters?: LayerAdapters | undefined;
}

/** The first position that a row attends to. */
export function firstVisible(span: AttentionSpan, position: number): number {
  switch (span.kind) {
    case 'full':
      return 0;
    case 'window':
      return Math.max(0, position - span.positions + 1);
    case 'chunk':
      return position - (position % span.positions);
    default:
      return span satisfies never;
  }
}

/**
 * One kind of attention; returns [numRows, hiddenSize]. Writes each row's keys and values into the row's cache at (`cacheLayer`,
 * position), then lets the row attend to all positions ≤ its own. A row's result is bit for bit independent of other sequences.
 */
export type Attention<Config, Weights> = (config: Config, weights: Weights, input: AttentionInput) => Float32Array;
