import type { EngineAdapter, ExpertAdapters, Mixture } from '@shoal/model';

/** An adapter in the dense engine, and what it adds to routed experts. */
export interface LoadedAdapter {
  engine: EngineAdapter;
  experts: ExpertAdapters;
  mixture?: Mixture | undefined;
}

/** An adapter that requests may name. Its memory is given back once it is unloaded and no answer uses it any more. */
export class ServedAdapter {
  readonly name: string;
  /** Another one for each load, so that nothing computed under an earlier adapter of the same name is taken for this one's. */
  readonly id: number;
  readonly engine: EngineAdapter;
  /** What it adds to routed experts, on tabs that hold it or else in the coordinator. */
  readonly experts: ExpertAdapters;
  /** Present if it mixes several adapters, by token. */
  readonly mixture: Mixture | undefined;
  readonly loadedAt = new Date();
  readonly #onFree: () => void;
  #users = 0;
  #isRetired = false;

  constructor(name: string, id: number, { engine, experts, mixture }: LoadedAdapter, onFree: () => void) {
    this.name = name;
    this.id = id;
    this.engine = engine;
    this.experts = experts;
    this.mixture = mixture;
    this.#onFree = onFree;
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
