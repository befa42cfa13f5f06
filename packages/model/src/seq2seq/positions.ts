import type { Seq2SeqPositions } from '../model-config.ts';

type Buckets = Extract<Seq2SeqPositions, { kind: 'buckets' }>;

/**
 * The bucket of a distance, which is the attended position minus the attending one (Raffel et al. 2020, §2.1; transformers'
 * `_relative_position_bucket`): half of the buckets are of one distance each, the other half grow as its logarithm up to
 * `maxDistance`, and the last takes all beyond. `bothWays`: rows attend to later ones too, which have half of the buckets. In
 * float32 step by step as there, since a distance at a boundary would else fall into another bucket.
 */
export function distanceBucket(
  distance: number,
  bothWays: boolean,
  { buckets, maxDistance }: Omit<Buckets, 'kind'>,
): number {
  const count = bothWays ? buckets / 2 : buckets;
  const first = bothWays && distance > 0 ? count : 0;
  const far = bothWays ? Math.abs(distance) : Math.max(0, -distance);
  const exact = Math.floor(count / 2);
  if (far < exact) return first + far;
  const { fround } = Math;
  const logarithm = fround(Math.log(fround(far / exact)));
  const share = fround(logarithm / fround(Math.log(maxDistance / exact)));
  return first + Math.min(count - 1, exact + Math.trunc(fround(share * (count - exact))));
}

/** What is added to the scores of a stack's attention, by head and distance. */
export class PositionBias {
  /** [buckets, heads] */
  readonly #table: Float32Array;
  readonly #heads: number;
  readonly #bothWays: boolean;
  readonly #buckets: Buckets;

  constructor(table: Float32Array, bothWays: boolean, buckets: Buckets) {
    this.#table = table;
    this.#heads = table.length / buckets.buckets;
    this.#bothWays = bothWays;
    this.#buckets = buckets;
  }

  /** For an attended position minus the attending one. */
  of(head: number, distance: number): number {
    return this.#table[distanceBucket(distance, this.#bothWays, this.#buckets) * this.#heads + head]!;
  }
}

/** What positions count from in the place of 0: fairseq's tables begin with the padding token's. */
const FIRST_AFTER_PAD = 1;

/**
 * Each token's place in the table of sinusoids, for the tokens of a whole source: the padding token has the table's row of its id,
 * which is zero, and takes no place (fairseq's `make_positions`).
 */
export function sinusoidPlaces(tokenIds: readonly number[], padTokenId: number): number[] {
  let taken = 0;
  return tokenIds.map((id) => (id === padTokenId ? padTokenId : padTokenId + FIRST_AFTER_PAD + taken++));
}

/**
 * Adds the sinusoids of a place to a row [width]: the sines of place × 10000^(−i / (width/2 − 1)), then the cosines. In float32 step
 * by step, as transformers' table is made (`NllbMoeSinusoidalPositionalEmbedding`).
 */
export function addSinusoid(row: Float32Array, place: number, padTokenId: number): void {
  if (place === padTokenId) return;
  const half = Math.floor(row.length / 2);
  const { fround } = Math;
  const step = fround(-Math.log(10_000) / (half - 1));
  for (let i = 0; i < half; i++) {
    const angle = fround(place * fround(Math.exp(fround(i * step))));
    row[i] = row[i]! + fround(Math.sin(angle));
    row[half + i] = row[half + i]! + fround(Math.cos(angle));
  }
}
