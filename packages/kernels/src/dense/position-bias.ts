import { distanceBucket, type ModelConfig, type Seq2SeqPositions } from '@shoal/model';
import { alignUp } from '@shoal/weights';
import type { Bank } from './bank.ts';

/** Biases by distance, as packages/kernels/wasm/assembly/dense/grouped-query.ts reads them. */
export interface DistanceBiases {
  address: number;
  /** Beyond this distance they are the same. */
  reach: number;
}

type Buckets = Extract<Seq2SeqPositions, { kind: 'buckets' }>;

function bucketsOf({ seq2seq }: Pick<ModelConfig, 'seq2seq'>): Buckets | undefined {
  return seq2seq?.positions.kind === 'buckets' ? seq2seq.positions : undefined;
}

/** Bytes of one stack's table. */
function stackBytes({ attention }: Pick<ModelConfig, 'attention'>, { maxDistance }: Buckets): number {
  return alignUp(attention.numAttentionHeads * (2 * maxDistance + 1) * 4);
}

/** Bytes of both stacks' tables in a bank; 0 where the model has none. */
export function biasTableBytes(config: Pick<ModelConfig, 'attention' | 'seq2seq'>): number {
  const buckets = bucketsOf(config);
  return buckets ? 2 * stackBytes(config, buckets) : 0;
}

/** T5's biases of positions in a bank: [heads][2 × reach + 1] for each stack, since attention looks up distances, not buckets. */
export class PositionBias {
  readonly #bank: Bank;
  readonly #heads: number;
  readonly #positions: Buckets;
  readonly encoder: DistanceBiases;
  readonly decoder: DistanceBiases;

  constructor(bank: Bank, config: ModelConfig) {
    this.#bank = bank;
    this.#heads = config.attention.numAttentionHeads;
    this.#positions = bucketsOf(config)!;
    const reach = this.#positions.maxDistance;
    const bytes = stackBytes(config, this.#positions);
    this.encoder = { address: bank.reserve(bytes), reach };
    this.decoder = { address: bank.reserve(bytes), reach };
  }

  /** Takes the tables [buckets, heads] of both stacks. */
  fill(encoder: Float32Array, decoder: Float32Array): void {
    this.#fillStack(encoder, this.encoder, true);
    this.#fillStack(decoder, this.decoder, false);
  }

  #fillStack(table: Float32Array, { address, reach }: DistanceBiases, isBidirectional: boolean): void {
    const heads = this.#heads;
    const { f32 } = this.#bank.views;
    const width = 2 * reach + 1;
    for (let distance = -reach; distance <= reach; distance++) {
      const bucket = distanceBucket(distance, isBidirectional, this.#positions);
      for (let h = 0; h < heads; h++) f32[address / 4 + h * width + distance + reach] = table[bucket * heads + h]!;
    }
  }
}
