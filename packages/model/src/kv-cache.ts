import type { AttentionConfig, ModelConfig } from './model-config.ts';

/**
 * Positions per allocation, over all layers: small enough that a short answer wastes little (64 positions of DeepSeek-V3 are
 * 9 MB), large enough that growing is rare.
 */
const CHUNK_POSITIONS = 64;

/** Values that attention caches for one position in one layer. */
export function kvWidth(attention: AttentionConfig): number {
  return attention.kind === 'mla'
    ? attention.kvLoraRank + attention.qkRopeHeadDim
    : 2 * attention.numKeyValueHeads * attention.headDim;
}

/**
 * Values that plain multi-head attention with the same heads would cache for one position in one layer: a key and a value for
 * each head. MLA's rotated part is left out, since a plain head does not have it (DeepSeek-V2 paper, table 1).
 */
export function plainMhaWidth(attention: AttentionConfig): number {
  return attention.kind === 'mla'
    ? attention.numAttentionHeads * (attention.qkNopeHeadDim + attention.vHeadDim)
    : 2 * attention.numAttentionHeads * attention.headDim;
}

/** Throws a RangeError unless a cache of `held` positions can be truncated to `length`. */
export function checkTruncate(held: number, length: number): void {
  if (Number.isInteger(length) && length >= 0 && length <= held) return;
  throw new RangeError(`KV cache: cannot truncate ${held} positions to ${length}`);
}

/** Throws a RangeError unless a cache of `held` positions can keep `length` of them and those in `slots`. */
export function checkKeep(held: number, length: number, slots: readonly number[]): void {
  checkTruncate(held, length);
  let before = length - 1;
  for (const slot of slots) {
    if (!Number.isInteger(slot) || slot <= before || slot >= held)
      throw new RangeError(`KV cache: cannot keep ${length} of ${held} positions and then ${slots.join(', ')}`);
    before = slot;
  }
}

/**
 * For a row that may follow other rows than those before it, as in a tree of drafts: where in the cache the last positions lie,
 * ascending; those before them are in their own places. The last is the row's own, the next that is free. Without it, all
 * positions up to the row's are in their own places. Either way its result has the same bits. Windows give pages back when a
 * call begins, so with windows the rows of a tree are in one call.
 */
export type RowSlots = readonly number[] | undefined;

/** Consecutive positions of one layer. */
export interface CacheSegment {
  /** Position of the first. */
  start: number;
  count: number;
  /** [count, width] */
  values: Float32Array;
}

/**
 * The KV cache of one sequence. MLA keeps [c | k_pe] per position and layer, the normalised compressed KV (`kvLoraRank` values)
 * and the rotated key shared by all heads (`qkRopeHeadDim`); GQA [k | v], rotated keys and values of every key-value head.
 * Float32, so that an answer computed in several steps is bit for bit the one computed at once.
 */
export class KvCache {
  readonly numLayers: number;
  /** Values per position and layer. */
  readonly width: number;
  readonly bytesPerToken: number;
  /** Each [numLayers, CHUNK_POSITIONS, width]. */
  readonly #chunks: Float32Array[] = [];
  #length = 0;

  /** `numLayers` is the main model's number of layers by default; the MTP module's cache has one. */
  constructor(config: Pick<ModelConfig, 'attention' | 'numHiddenLayers'>, numLayers = config.numHiddenLayers) {
    this.numLayers = numLayers;
    this.width = kvWidth(config.attention);
    this.bytesPerToken = numLayers * this.width * Float32Array.BYTES_PER_ELEMENT;
  }

  /** Positions held; the next one to be written. */
  get length(): number {
    return this.#length;
  }

  get allocatedBytes(): number {
    return this.#chunks.length * CHUNK_POSITIONS * this.bytesPerToken;
  }

  /** Makes room for `count` more positions, which count as held from then on. */
  append(count: number): void {
    const length = this.#length + count;
    while (this.#chunks.length * CHUNK_POSITIONS < length) {
      this.#chunks.push(new Float32Array(this.numLayers * CHUNK_POSITIONS * this.width));
    }
    this.#length = length;
  }

  /** Forgets all positions from `length` on, and frees the memory that held only them. */
  truncate(length: number): void {
    checkTruncate(this.#length, length);
    this.#length = length;
    this.#chunks.length = Math.ceil(length / CHUNK_POSITIONS);
  }

  /** As `SequenceCache.keep`. */
  keep(length: number, slots: readonly number[]): void {
    checkKeep(this.#length, length, slots);
    for (const [i, from] of slots.entries()) {
      const to = length + i;
      if (from === to) continue;
      for (let layer = 0; layer < this.numLayers; layer++) this.write(layer, to, this.#values(layer, from, 1), 0);
    }
    this.truncate(length + slots.length);
  }

  free(): void {
    this.truncate(0);
  }

  /** Writes one position of one layer from `source[start …]`, [width]. */
  write(layer: number, position: number, source: Float32Array, start: number): void {
    if (layer >= this.numLayers || position >= this.#length) {
      throw new RangeError(
        `KV cache: layer ${layer}, position ${position} is outside ${this.numLayers} layers × ${this.#length} positions`,
      );
    }
    const chunk = this.#chunks[Math.floor(position / CHUNK_POSITIONS)]!;
    const row = layer * CHUNK_POSITIONS + (position % CHUNK_POSITIONS);
    chunk.set(source.subarray(start, start + this.width), row * this.width);
  }

  /**
   * One layer's first `length` positions, in order, of which the last lie in `slots` and the others in their own places. Views,
   * valid until the cache is truncated.
   */
  segments(layer: number, length: number, slots: readonly number[] = []): CacheSegment[] {
    const segments: CacheSegment[] = [];
    const inPlace = length - slots.length;
    for (let start = 0; start < inPlace; start += CHUNK_POSITIONS) {
      const count = Math.min(CHUNK_POSITIONS, inPlace - start);
      segments.push({ start, count, values: this.#values(layer, start, count) });
    }
    for (const [i, slot] of slots.entries())
      segments.push({ start: inPlace + i, count: 1, values: this.#values(layer, slot, 1) });
    return segments;
  }

  /** Views of positions of one chunk, [count, width]. */
  #values(layer: number, first: number, count: number): Float32Array {
    const row = layer * CHUNK_POSITIONS + (first % CHUNK_POSITIONS);
    const chunk = this.#chunks[Math.floor(first / CHUNK_POSITIONS)]!;
    return chunk.subarray(row * this.width, (row + count) * this.width);
  }
}
