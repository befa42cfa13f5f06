/**
 * Finds stop strings in text that arrives in pieces, and holds back only text that may become one. The stop string that
 * completes first wins, and the longest of those that complete together, so the result does not depend on tokenization.
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  readonly #longest: number;
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops;
    this.#longest = Math.max(0, ...stops.map((stop) => stop.length));
  }

  /** Returns text that is not part of a stop string, and the one that was found; nothing may be pushed after it. */
  push(text: string): { text: string; stop?: string } {
    if (this.#stops.length === 0) return { text };
    const pending = this.#held + text;
    const found = this.#firstStop(pending);
    if (found) {
      this.#held = '';
      return { text: pending.slice(0, found.start), stop: found.stop };
    }
    const keep = this.#possibleStart(pending);
    this.#held = pending.slice(keep);
    return { text: pending.slice(0, keep) };
  }

  /** Returns the text that was held back, at the end of the text. */
  flush(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }

  #firstStop(pending: string): { start: number; stop: string } | undefined {
    let best: { start: number; end: number; stop: string } | undefined;
    for (const stop of this.#stops) {
      const start = pending.indexOf(stop);
      if (start < 0) continue;
      const end = start + stop.length;
      if (!best || end < best.end || (end === best.end && start < best.start)) best = { start, end, stop };
    }
    return best;
  }

  /** The start of the longest tail that is a proper prefix of a stop string. */
  #possibleStart(pending: string): number {
    for (let start = Math.max(0, pending.length - this.#longest + 1); start < pending.length; start++) {
      const tail = pending.slice(start);
      if (this.#stops.some((stop) => stop.startsWith(tail))) return start;
    }
    return pending.length;
  }
}
