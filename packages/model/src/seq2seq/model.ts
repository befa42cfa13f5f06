import type { KvCache } from '../kv-cache.ts';
import { layerNorm, rmsNorm } from '../math.ts';
import type { GqaConfig, ModelConfig, Seq2SeqConfig } from '../model-config.ts';
import type { AnyNormWeights, Seq2SeqWeights } from '../weights.ts';

export interface Seq2SeqModel {
  config: ModelConfig;
  weights: Seq2SeqWeights;
}

/** A model's config in parts. Throws a TypeError for another kind of model. */
export function partsOf(config: ModelConfig): { attention: GqaConfig; seq2seq: Seq2SeqConfig } {
  const { attention, seq2seq, modelType } = config;
  if (!seq2seq || attention.kind === 'mla') throw new TypeError(`${modelType} is no encoder–decoder`);
  return { attention, seq2seq };
}

/** A source that the reference has read: the keys and values of its rows in each of the decoder's layers. */
export class ReferenceSource {
  readonly length: number;
  readonly bytes: number;
  #cache: KvCache | undefined;

  constructor(cache: KvCache) {
    this.length = cache.length;
    this.bytes = cache.allocatedBytes;
    this.#cache = cache;
  }

  get cache(): KvCache {
    if (!this.#cache) throw new TypeError('this source was freed');
    return this.#cache;
  }

  free(): void {
    this.#cache = undefined;
  }
}

/** x [numRows, hiddenSize], normalised; a new array. */
export function normed(x: Float32Array, { weight, bias }: AnyNormWeights, { rmsNormEps }: ModelConfig): Float32Array {
  if (!bias) return rmsNorm(x, weight, x.length / weight.length, rmsNormEps);
  const result = x.slice();
  layerNorm(result, weight, bias, rmsNormEps);
  return result;
}
