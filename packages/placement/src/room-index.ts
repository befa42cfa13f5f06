import type { Ledger } from './ledger.ts';
import type { ExpertIndex } from './types.ts';

/** Bins by the number of experts that they can still take. */
export class RoomIndex {
  readonly #ledger: Ledger;
  /** [free] bins that had so much room when they were entered, in order of score; those that have not are passed over. */
  readonly #bins: number[][] = [];

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
    const scores = Float64Array.from({ length: ledger.numBins }, (_, bin) => ledger.score(bin));
    const order = Array.from(scores.keys()).sort((a, b) => scores[a]! - scores[b]! || a - b);
    for (const bin of order) this.update(bin);
  }

  /** The bin's room has changed. */
  update(bin: number): void {
    const free = this.#ledger.widest(bin);
    if (free <= 0) return;
    while (this.#bins.length <= free) this.#bins.push([]);
    this.#bins[free]!.push(bin);
  }

  /** The smallest room that takes all of these experts, else the largest that takes any. */
  bestFor(layer: number, experts: readonly ExpertIndex[]): number | undefined {
    const { room, mayHold } = this.#ask(layer);
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

  #ask(layer: number) {
    return {
      room: (bin: number) => this.#ledger.room(bin, layer),
      mayHold: (bin: number, expert: ExpertIndex) => this.#ledger.mayHold(bin, expert),
    };
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
