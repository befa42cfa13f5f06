import type { Ledger } from './ledger.ts';
import type { ExpertIndex } from './types.ts';

/** Index of bins by the number of experts that they can still take. */
export class RoomIndex {
  readonly #ledger: Ledger;
  /** [free] bins that had this much room when entered, by score; stale entries are skipped. */
  readonly #bins: number[][] = [];

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    const scores = Float64Array.from({ length: ledger.numBins }, (_, bin) => ledger.score(bin));
    const order = Array.from(scores.keys()).sort((a, b) => scores[a]! - scores[b]! || a - b);
    for (const bin of order) this.update(bin);
  }

  /** Call after the bin's room has changed. */
  update(bin: number): void {
    const free = this.#ledger.widest(bin);
    if (free <= 0) return;
    while (this.#bins.length <= free) this.#bins.push([]);
    this.#bins[free]!.push(bin);
  }

  /** Returns the bin with the smallest room that takes all of these experts, else with the largest that takes any. */
  bestFor(layer: number, experts: readonly ExpertIndex[]): number | undefined {
    const room = (bin: number): number => this.#ledger.room(bin, layer);
    const mayHold = (bin: number, expert: ExpertIndex): boolean => this.#ledger.mayHold(bin, expert);
    for (let free = experts.length; free < this.#bins.length; free++) {
      const bin = this.#first(free, (bin) => room(bin) >= experts.length && experts.every((e) => mayHold(bin, e)));
      if (bin !== undefined) return bin;
    }
    for (let free = this.#bins.length - 1; free > 0; free--) {
      const bin = this.#first(free, (bin) => room(bin) > 0 && experts.some((e) => mayHold(bin, e)));
      if (bin !== undefined) return bin;
    }
    return undefined;
  }

  #first(free: number, suits: (bin: number) => boolean): number | undefined {
    const bins = this.#bins[free]!;
    let kept = 0;
    let found: number | undefined;
    for (let i = 0; i < bins.length; i++) {
      const bin = bins[i]!;
      if (this.#ledger.widest(bin) !== free) continue;
      if (found === undefined && suits(bin)) found = bin;
      bins[kept++] = bin;
      if (found !== undefined && kept === i + 1) return found;
    }
    bins.length = kept;
    return found;
  }
}
