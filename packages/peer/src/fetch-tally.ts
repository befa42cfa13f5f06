import type { ShardOrigin } from '@shoal/protocol';

/** Bytes of whole shards since the page was opened: downloaded, by who sent them, and given to other tabs. */
export interface FetchedBytes extends Record<ShardOrigin, number> {
  given: number;
}

export class FetchTally {
  readonly #bytes: FetchedBytes = { coordinator: 0, mirror: 0, tab: 0, given: 0 };

  add(what: keyof FetchedBytes, bytes: number): void {
    this.#bytes[what] += bytes;
  }

  get bytes(): FetchedBytes {
    return { ...this.#bytes };
  }
}
