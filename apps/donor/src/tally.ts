import type { FetchedBytes } from '@shoal/peer';
import type { Visit } from './donor-state.ts';

/** Sums a counter that restarts at 0 whenever its source (a link, a connection) is replaced. */
export class Tally {
  #total = 0;
  #last = 0;

  get total(): number {
    return this.#total;
  }

  /** Returns the increase since the last reading. */
  read(value: number): number {
    const added = value >= this.#last ? value - this.#last : value;
    this.#last = value;
    this.#total += added;
    return added;
  }

  /** Call when the counter restarts, since its next reading may be higher than the last. */
  restart(): void {
    this.#last = 0;
  }
}

/** The figures of one visit over all of its connections. */
export class VisitTallies {
  readonly tokensHelped = new Tally();
  readonly rows = new Tally();
  readonly wireBytes = new Tally();
  readonly downloadedBytes = new Tally();
  readonly mirrorBytes = new Tally();
  readonly tabBytes = new Tally();
  readonly givenBytes = new Tally();

  /** Bytes since the worker was started. */
  readFetched({ mirror, tab, given }: FetchedBytes): void {
    this.mirrorBytes.read(mirror);
    this.tabBytes.read(tab);
    this.givenBytes.read(given);
  }

  get totals(): Omit<Visit, 'startedMs' | 'endedMs'> {
    const { tokensHelped, rows, wireBytes, downloadedBytes, mirrorBytes, tabBytes, givenBytes } = this;
    return {
      tokensHelped: tokensHelped.total,
      rows: rows.total,
      wireBytes: wireBytes.total,
      downloadedBytes: downloadedBytes.total,
      mirrorBytes: mirrorBytes.total,
      tabBytes: tabBytes.total,
      givenBytes: givenBytes.total,
    };
  }
}
