import type { AdapterAbout } from './adapter-about.ts';

/** The name of a model that asks for the adapter which fits the prompt. No adapter may have it. */
export const AUTO_MODEL = 'auto';

/** Tokens of a prompt that are looked at: its last ones, so that the work is bounded. */
export const ROUTED_TOKENS = 256;

export interface AdapterChooserOptions {
  /** A text's tokens, without those that begin every text. */
  encode: (text: string) => readonly number[];
  /** [hiddenSize], an embedding of the model's own. */
  tokenEmbedding: (id: number) => Float32Array;
  /** The least similarity at which an adapter is chosen. */
  threshold: number;
}

/** What an adapter is for, as unit vectors. */
export interface Routed {
  readonly points: readonly Float32Array[];
}

export interface Choice<Adapter> {
  /** Undefined: no adapter is near enough, and the base model answers. */
  adapter: Adapter | undefined;
  /** Of the nearest, from −1 to 1; null where there was nothing to compare. */
  similarity: number | null;
}

/**
 * Chooses the adapter one of whose texts is nearest to a prompt, by the cosine of their embeddings: the mean of their tokens' input
 * embeddings, which takes no pass. models/adapters/README.md has how often that is right, and what was tried beside it.
 */
export class AdapterChooser {
  readonly #options: AdapterChooserOptions;

  constructor(options: AdapterChooserOptions) {
    this.#options = options;
  }

  pointsOf({ description, examples }: AdapterAbout): Float32Array[] {
    return [description, ...examples].flatMap((text) => this.#embed(this.#options.encode(text)) ?? []);
  }

  choose<Adapter extends Routed>(ids: readonly number[], adapters: Iterable<Adapter>): Choice<Adapter> {
    const prompt = this.#embed(ids.slice(-ROUTED_TOKENS));
    if (!prompt) return { adapter: undefined, similarity: null };
    let best: { adapter: Adapter; similarity: number } | undefined;
    for (const adapter of adapters) {
      for (const point of adapter.points) {
        const similarity = dot(prompt, point);
        if (similarity > (best?.similarity ?? -Infinity)) best = { adapter, similarity };
      }
    }
    const isNear = best !== undefined && best.similarity >= this.#options.threshold;
    return { adapter: isNear ? best!.adapter : undefined, similarity: best?.similarity ?? null };
  }

  /**
   * The direction of a text's embedding; undefined if it has none. Each distinct token counts once, weighted by its information
   * −log p: the ids of merged tokens are in the order of their frequency, so that p is about 1 / id (Zipf's law).
   */
  #embed(ids: readonly number[]): Float32Array | undefined {
    let sum: Float32Array | undefined;
    for (const id of new Set(ids)) {
      const row = this.#options.tokenEmbedding(id);
      const weight = Math.log(id + 2);
      sum ??= new Float32Array(row.length);
      for (let i = 0; i < row.length; i++) sum[i]! += weight * row[i]!;
    }
    const norm = sum && Math.sqrt(dot(sum, sum));
    return norm ? sum!.map((value) => value / norm) : undefined;
  }
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
