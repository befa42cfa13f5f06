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

  /** One layer's first `length` positions, in order. Views, valid until the cache is truncated. */
  segments(layer: number, length: number): CacheSegment[] {
    const segments: CacheSegment[] = [];
    for (let start = 0; start < length; start += CHUNK_POSITIONS) {
      const count = Math.min(CHUNK_POSITIONS, length - start);
      const from = layer * CHUNK_POSITIONS * this.width;
      const values = this.#chunks[start / CHUNK_POSITIONS]!.subarray(from, from + count * this.width);
      segments.push({ start, count, values });
    }
    return segments;
  }
}
