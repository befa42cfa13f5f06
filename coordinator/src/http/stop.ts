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

  /** Returns text that is not part of a stop string. `stopped` is set once one is found; nothing may be pushed after it. */
  push(text: string): { text: string; stopped: boolean } {
    if (this.#stops.length === 0) return { text, stopped: false };
    const pending = this.#held + text;
    const start = this.#firstStop(pending);
    if (start !== undefined) {
      this.#held = '';
      return { text: pending.slice(0, start), stopped: true };
    }
    const keep = this.#possibleStart(pending);
    this.#held = pending.slice(keep);
    return { text: pending.slice(0, keep), stopped: false };
  }

  /** Returns the text that was held back, at the end of the text. */
  flush(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }

  #firstStop(pending: string): number | undefined {
    let best: { start: number; end: number } | undefined;
    for (const stop of this.#stops) {
      const start = pending.indexOf(stop);
      if (start < 0) continue;
      const end = start + stop.length;
      if (!best || end < best.end || (end === best.end && start < best.start)) best = { start, end };
    }
    return best?.start;
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
