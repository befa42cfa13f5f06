import { addWait, addWaits, noWaits, type WaitCounts, waitQuantile, waitsIn } from '../base/wait-histogram.ts';
import { MINUTE_MS, type RecentFacts } from './facts.ts';

const FIRST_TOKEN_MINUTES = 10;
const WORK_MS = 5 * MINUTE_MS;
/** Events of a kind that are remembered: more of them change no sentence. */
const MAX_EVENTS = 1_000;

/** Counters since the start. */
export interface Counted {
  work: number;
  fallback: number;
  refused: number;
}

/** What happened within the last minutes, from counters that only grow. */
export class Recent {
  readonly #minutes = new Map<number, WaitCounts>();
  #counted: (Counted & { atMs: number })[] = [];
  /** Work of the times in which tabs served: what the coordinator does while there are none is no tab's failure. */
  readonly #withTabs = { work: 0, fallback: 0 };
  #last: { now: Counted; tabsServe: boolean } | undefined;

  firstToken(nowMs: number, ms: number): void {
    const minute = Math.floor(nowMs / MINUTE_MS);
    let counts = this.#minutes.get(minute);
    if (!counts) this.#minutes.set(minute, (counts = noWaits()));
    addWait(counts, ms);
  }

  /** The facts of the last minutes, with the counters as they are now, and whether any tab serves now. */
  facts(nowMs: number, now: Counted, tabsServe: boolean): RecentFacts {
    if (this.#last?.tabsServe && tabsServe) {
      this.#withTabs.work += now.work - this.#last.now.work;
      this.#withTabs.fallback += now.fallback - this.#last.now.fallback;
    }
    this.#last = { now, tabsServe };
    this.#counted = this.#counted.filter(({ atMs }) => nowMs - atMs <= WORK_MS);
    this.#counted.push({ refused: now.refused, ...this.#withTabs, atMs: nowMs });
    const before = this.#counted[0]!;
    const first = Math.floor(nowMs / MINUTE_MS) - FIRST_TOKEN_MINUTES + 1;
    const waits = noWaits();
    for (const [minute, counts] of this.#minutes) {
      if (minute < first) this.#minutes.delete(minute);
      else addWaits(waits, counts);
    }
    return {
      firstTokens: { count: waitsIn(waits), p95Ms: waitQuantile(waits, 0.95) },
      work: { all: this.#withTabs.work - before.work, fallback: this.#withTabs.fallback - before.fallback },
      refused: now.refused - before.refused,
    };
  }
}

/** Adds to a list of what happened, newest last, and forgets the oldest. */
export function remember<T>(list: T[], one: T): void {
  list.push(one);
  if (list.length > MAX_EVENTS) list.shift();
}
