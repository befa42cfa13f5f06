import type { Rng } from '@shoal/model';
import type { SimModel } from './models.ts';

export type Popularity = 'uniform' | 'zipf';

/**
 * Zipf's exponent: the expert of rank i in its layer is chosen with probability ∝ 1 / i^s. Of 64 experts, the busiest
 * gets 8 times the rows of the idlest. An assumption, not a measurement.
 */
const ZIPF_EXPONENT = 0.5;

/**
 * Draws a token's experts in a layer without a model: by popularity, independently of earlier layers, and within
 * `topkGroup` random groups if the gate has groups. Independence is the worst case for placement: in real text, experts
 * that were asked together tend to be asked together again.
 */
export class GateChoices {
  readonly #model: SimModel;
  readonly #rng: Rng;
  /** [numLayers][expertsPerLayer] */
  readonly #popularity: Float64Array[];

  constructor(model: SimModel, popularity: Popularity, rng: Rng) {
    this.#model = model;
    this.#rng = rng;
    this.#popularity = Array.from({ length: model.numLayers }, () => {
      const ranks = this.#shuffled(model.expertsPerLayer);
      return Float64Array.from(ranks, (rank) => (popularity === 'zipf' ? (rank + 1) ** -ZIPF_EXPONENT : 1));
    });
  }

  /** [topK] distinct experts */
  draw(layer: number): number[] {
    const { nGroup, topkGroup, expertsPerLayer, topK } = this.#model;
    const size = expertsPerLayer / nGroup;
    const groups = new Set(this.#shuffled(nGroup).slice(0, topkGroup));
    const popularity = this.#popularity[layer]!;
    // Samples without replacement: the k smallest exponential times at these rates (Efraimidis & Spirakis 2006).
    const times: { expert: number; time: number }[] = [];
    for (let expert = 0; expert < expertsPerLayer; expert++) {
      if (!groups.has(Math.floor(expert / size))) continue;
      times.push({ expert, time: -Math.log(1 - this.#rng()) / popularity[expert]! });
    }
    return times
      .sort((a, b) => a.time - b.time)
      .slice(0, topK)
      .map(({ expert }) => expert);
  }

  #shuffled(length: number): number[] {
    const order = Array.from({ length }, (_, i) => i);
    for (let i = length - 1; i > 0; i--) {
      const j = Math.floor(this.#rng() * (i + 1));
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}
