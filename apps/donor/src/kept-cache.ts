import type { Signal } from '@preact/signals';
import type { ShardCache } from '@shoal/peer';
import type { DonorState } from './donor-state.ts';

/** The weights in the browser's storage. Keeps in the page's state how much they are. */
export class KeptCache {
  readonly #state: Signal<DonorState>;
  readonly #cache: ShardCache;

  constructor(state: Signal<DonorState>, cache: ShardCache) {
    this.#state = state;
    this.#cache = cache;
  }

  async measure(): Promise<void> {
    try {
      this.#set({ keptBytes: await this.#cache.sizeBytes() });
    } catch {
      this.#set({ cacheFailure: 'unavailable' });
    }
  }

  async deleteAll(): Promise<void> {
    await this.#cache.deleteAll().catch(() => {});
    await this.measure();
  }

  #set(change: Partial<DonorState>): void {
    this.#state.value = { ...this.#state.value, ...change };
  }
}
