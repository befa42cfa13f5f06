import type { Adapter, EngineAdapter, ExpertAdapters, Mixture } from '@shoal/model';
import { steadyUnixMs } from '../base/clock.ts';
import type { AdapterAbout } from './adapter-about.ts';

/** What is known of an adapter that is loaded. */
export interface AdapterFacts {
  /** Where it is from, as the operator wrote it. */
  source: string;
  about: AdapterAbout;
  /** What it is for, as `AdapterChooser` compares it. */
  points: readonly Float32Array[];
  adapter: Pick<Adapter, 'layers' | 'experts' | 'maxRank' | 'mixture'>;
  /** Memory of --adapter-memory. */
  bytes: number;
}

/** An adapter that requests may name. Its memory is given back once it is unloaded and no answer uses it any more. */
export class ServedAdapter {
  readonly name: string;
  /** Another one for each load, so that nothing computed under an earlier adapter of the same name is taken for this one's. */
  readonly id: number;
  readonly engine: EngineAdapter;
  /** What it adds to routed experts, on tabs that hold it or else in the coordinator. */
  readonly experts: ExpertAdapters;
  readonly source: string;
  readonly about: AdapterAbout;
  readonly points: readonly Float32Array[];
  readonly rank: number;
  readonly bytes: number;
  /** In how many layers it changes what the coordinator computes, and in how many routed experts. */
  readonly denseLayers: number;
  readonly expertLayers: number;
  readonly loadedMs = steadyUnixMs();
  /** Present if it mixes several adapters, by token. */
  readonly mixture: Mixture | undefined;
  readonly loadedAt = new Date();
  readonly #onFree: () => void;
  #users = 0;
  #isRetired = false;

  constructor(
    name: string,
    id: number,
    engine: EngineAdapter,
    { source, about, points, adapter, bytes }: AdapterFacts,
    onFree: () => void,
  ) {
    this.name = name;
    this.id = id;
    this.engine = engine;
    this.experts = adapter.experts;
    this.mixture = adapter.mixture;
    this.source = source;
    this.about = about;
    this.points = points;
    this.rank = adapter.maxRank;
    this.bytes = bytes;
    this.denseLayers = adapter.layers.filter((layer) => Object.keys(layer).length > 0).length;
    this.expertLayers = adapter.experts.size;
    this.#onFree = onFree;
  }

  /** Answers that use it. */
  get users(): number {
    return this.#users;
  }

  /** Keeps it for an answer. Returns the call that ends that, or undefined if the adapter is unloaded. */
  retain(): (() => void) | undefined {
    if (this.#isRetired) return undefined;
    this.#users++;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#users--;
      this.#freeUnused();
    };
  }

  /** Takes no more requests. */
  retire(): void {
    if (this.#isRetired) return;
    this.#isRetired = true;
    this.#freeUnused();
  }

  #freeUnused(): void {
    if (!this.#isRetired || this.#users > 0) return;
    this.engine.free();
    this.#onFree();
  }
}
