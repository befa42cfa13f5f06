import type { LapRefusal } from '@shoal/protocol';
import type { Clock } from '../base/clock.ts';

/** Refusals that an honest tab has a reason for (docs/PROTOCOL.md). One of them says little, several say that it is of no use. */
const EXCUSED_REFUSALS: ReadonlySet<LapRefusal> = new Set(['paused', 'busy', 'stale-epoch']);
/** Laps count for this long, however many are answered in between. */
const RECENT_MS = 60_000;
interface Limit {
  drain: number;
  dismiss: number;
}
const LIMITS = {
  /** In a row: missed deadlines, and refusals for the peer's own fault. */
  failures: { drain: 2, dismiss: 3 },
  /** In a row: excused refusals. */
  refusals: { drain: 4, dismiss: 6 },
  /** Of any kind within RECENT_MS. */
  recent: { drain: 6, dismiss: 9 },
  /** Laps within RECENT_MS that the coordinator was faster with. Some wait behind a large one on an honest tab's line. */
  overtaken: { drain: 20, dismiss: 30 },
} satisfies Record<string, Limit>;

/**
 * One peer's laps that failed, as far as they decide whether it stays. Laps that were in flight together count once: a pause or
 * a new assignment makes a tab refuse all of them.
 */
export class LapFailures {
  /** Without an answer in between. */
  #failures = 0;
  #refusals = 0;
  readonly #recent: Recent;
  readonly #overtaken: Recent;

  constructor(clock: Clock) {
    this.#recent = new Recent(clock, LIMITS.recent.dismiss);
    this.#overtaken = new Recent(clock, LIMITS.overtaken.dismiss);
  }

  get inARow(): number {
    return this.#failures + this.#refusals;
  }

  /** Whether its experts should go to others, or it should leave at once; undefined if neither. */
  get verdict(): 'drain' | 'dismiss' | undefined {
    const counts: [number, Limit][] = [
      [this.#failures, LIMITS.failures],
      [this.#refusals, LIMITS.refusals],
      [this.#recent.count, LIMITS.recent],
      [this.#overtaken.count, LIMITS.overtaken],
    ];
    if (counts.some(([count, limit]) => count >= limit.dismiss)) return 'dismiss';
    return counts.some(([count, limit]) => count >= limit.drain) ? 'drain' : undefined;
  }

  answered(): void {
    this.#failures = 0;
    this.#refusals = 0;
  }

  missed(sentMs: number): void {
    if (this.#recent.add(sentMs)) this.#failures++;
  }

  refused(sentMs: number, reason: LapRefusal): void {
    if (!this.#recent.add(sentMs)) return;
    if (EXCUSED_REFUSALS.has(reason)) this.#refusals++;
    else this.#failures++;
  }

  /** Its answer said of a row that it has no finite sum, which the coordinator then found. No tab does so again and again. */
  withheld(sentMs: number): void {
    if (this.#recent.add(sentMs)) this.#refusals++;
  }

  /** The coordinator was faster with the lap, which the peer may still answer. */
  overtaken(sentMs: number): void {
    this.#overtaken.add(sentMs);
  }
}

/** When something happened lately, laps that were in flight together counted once. */
class Recent {
  readonly #clock: Clock;
  readonly #most: number;
  #atMs: number[] = [];

  constructor(clock: Clock, most: number) {
    this.#clock = clock;
    this.#most = most;
  }

  get count(): number {
    const since = this.#clock.now() - RECENT_MS;
    return this.#atMs.filter((ms) => ms >= since).length;
  }

  /** False if the lap was in flight when it happened last. */
  add(sentMs: number): boolean {
    const lastMs = this.#atMs.at(-1);
    if (lastMs !== undefined && sentMs < lastMs) return false;
    this.#atMs.push(this.#clock.now());
    if (this.#atMs.length > this.#most) this.#atMs.shift();
    return true;
  }
}
