/** A tab that was let in and has no WebRTC connection yet. */
export interface UnconnectedTab {
  tab: string;
  /** When it was let in, monotonic. */
  sinceMs: number;
  /** Gives its place to another. */
  makeWay(): void;
}

/** The tabs of each network that are not connected yet, in the order in which they came. */
export class Unconnected {
  readonly #networks = new Map<string, Set<UnconnectedTab>>();

  of(network: string): readonly UnconnectedTab[] {
    return [...(this.#networks.get(network) ?? [])];
  }

  /** Returns a function that takes the tab out again. */
  enter(networks: readonly string[], tab: UnconnectedTab): () => void {
    for (const network of networks) {
      const tabs = this.#networks.get(network) ?? new Set();
      this.#networks.set(network, tabs.add(tab));
    }
    return () => {
      for (const network of networks) {
        const tabs = this.#networks.get(network);
        if (tabs?.delete(tab) && tabs.size === 0) this.#networks.delete(network);
      }
    };
  }
}
