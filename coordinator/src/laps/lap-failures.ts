import type { LapRefusal } from '@shoal/protocol';
import type { Clock } from '../base/clock.ts';

/** Refusals that an honest tab has a reason for (docs/PROTOCOL.md). One of them says little, several say that it is of no use. */
const EXCUSED_REFUSALS: ReadonlySet<LapRefusal> = new Set(['paused', 'busy', 'stale-epoch']);
/** Failed laps count for this long, however many are answered in between. */
const RECENT_MS = 60_000;
const LIMITS = {
  /** In a row: missed deadlines, and refusals for the peer's own fault. */
  failures: { drain: 2, dismiss: 3 },
  /** In a row: excused refusals. */
  refusals: { drain: 4, dismiss: 6 },
  /** Of any kind within RECENT_MS. */
  recent: { drain: 6, dismiss: 9 },
};

/**
 * One peer's laps that failed, as far as they decide whether it stays. Laps that were in flight together count once: a pause or
 * a new assignment makes a tab refuse all of them.
 */
export class LapFailures {
  readonly #clock: Clock;
  /** Without an answer in between. */
  #failures = 0;
  #refusals = 0;
  #recentMs: number[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get inARow(): number {
    return this.#failures + this.#refusals;
  }

  /** Whether its experts should go to others, or it should leave at once; undefined if neither. */
  get verdict(): 'drain' | 'dismiss' | undefined {
    const { failures, refusals, recent } = LIMITS;
    const since = this.#clock.now() - RECENT_MS;
    const recentOnes = this.#recentMs.filter((ms) => ms >= since).length;
    const over = (what: 'drain' | 'dismiss'): boolean =>
      this.#failures >= failures[what] || this.#refusals >= refusals[what] || recentOnes >= recent[what];
    return over('dismiss') ? 'dismiss' : over('drain') ? 'drain' : undefined;
  }

  answered(): void {
    this.#failures = 0;
    this.#refusals = 0;
  }

  missed(sentMs: number): void {
    if (this.#isNew(sentMs)) this.#failures++;
  }

  refused(sentMs: number, reason: LapRefusal): void {
    if (!this.#isNew(sentMs)) return;
    if (EXCUSED_REFUSALS.has(reason)) this.#refusals++;
    else this.#failures++;
  }

  #isNew(sentMs: number): boolean {
    const lastMs = this.#recentMs.at(-1);
    if (lastMs !== undefined && sentMs < lastMs) return false;
    this.#recentMs.push(this.#clock.now());
    if (this.#recentMs.length > LIMITS.recent.dismiss) this.#recentMs.shift();
    return true;
  }
}
