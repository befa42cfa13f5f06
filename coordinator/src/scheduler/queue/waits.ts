import type { Admission } from './admission.ts';
import { type Pace, remainingWork, turnsMs } from './pace.ts';
import type { Sequence } from '../sequence.ts';

/** Of the queue, in the order of turns, as far as it is looked at. */
const MAX_LOOK_AHEAD = 256;
/** Times told to one client, and to all, that are remembered: every refusal looks through them. */
const MAX_TOLD_PER_CLIENT = 64;
const MAX_TOLD = 1024;
/** Refusals of so short a time go by the queue as the first of them saw it: a flood of them costs the others' answers little. */
const REUSE_MS = 20;

export interface WaitsOptions {
  admission: Pick<Admission, 'running' | 'inOrder'>;
  pace: Pick<Pace, 'expectedMs'>;
}

/**
 * How long a request waits for its turn, and when one that was refused is to come back: from what is left of running and
 * waiting requests, at the pace that requests have had (pace.ts).
 */
export class Waits {
  readonly #options: WaitsOptions;
  /** By client: when those that were refused were told to come back. */
  readonly #told = new Map<string, number[]>();
  /** When places of the queue come free, as expected at a time. */
  #seen: { atMs: number; turns: readonly number[] } | undefined;

  constructor(options: WaitsOptions) {
    this.#options = options;
  }

  /**
   * Milliseconds until a waiting request is expected to have its turn; of one beyond the first 256, until the last of these has;
   * null where nothing was measured.
   */
  untilTurnMs(sequence: Sequence): number | null {
    const waiting = this.#options.admission.inOrder(MAX_LOOK_AHEAD);
    const at = waiting.indexOf(sequence);
    return this.#turns(waiting, at < 0 ? waiting.length : at + 1)?.at(-1) ?? null;
  }

  /**
   * Milliseconds until a request of the client that is refused now finds a place in the queue; null while nothing was
   * measured. Those refused before it are expected back at their times, each client's in turn with the others', so that not
   * all are told to come for the same place.
   */
  retryAfterMs(client: string, nowMs: number): number | null {
    this.#forgetPast(nowMs);
    const told = this.#told.get(client) ?? [];
    const own = told.length + 1;
    let place = own;
    for (const [other, times] of this.#told) if (other !== client) place += Math.min(times.length, own);
    const turnMs = this.#placeFreeMs(place, nowMs);
    if (turnMs === undefined) return null;
    const waitMs = Math.max(0, turnMs - nowMs);
    if (told.length < MAX_TOLD_PER_CLIENT && this.told < MAX_TOLD) this.#told.set(client, [...told, turnMs]);
    return waitMs;
  }

  /** Times that were told to those who were refused, and are still to come. */
  get told(): number {
    let all = 0;
    for (const times of this.#told.values()) all += times.length;
    return all;
  }

  /** When the queue's place of this number, from 1, comes free; of those beyond 256 the last. Undefined where nothing was measured. */
  #placeFreeMs(place: number, nowMs: number): number | undefined {
    if (!this.#seen || nowMs - this.#seen.atMs >= REUSE_MS) {
      const turns = this.#turns(this.#options.admission.inOrder(MAX_LOOK_AHEAD), MAX_LOOK_AHEAD);
      this.#seen = turns && { atMs: nowMs, turns };
    }
    const { atMs, turns } = this.#seen ?? { atMs: nowMs, turns: [] };
    const waitMs = turns[Math.min(place, turns.length) - 1];
    return waitMs === undefined ? undefined : atMs + waitMs;
  }

  /** A client has come: it is expected back once less. */
  returned(client: string): void {
    const told = this.#told.get(client);
    told?.shift();
    if (told?.length === 0) this.#told.delete(client);
  }

  #turns(waiting: readonly Sequence[], count: number): number[] | undefined {
    const expected = (sequence: Sequence): number | null => this.#options.pace.expectedMs(remainingWork(sequence));
    const running = this.#options.admission.running.map(expected);
    const later = waiting.map(expected);
    if (!areKnown(running) || !areKnown(later)) return undefined;
    return turnsMs(running, later, count);
  }

  #forgetPast(nowMs: number): void {
    for (const [client, times] of this.#told) {
      const future = times.filter((time) => time > nowMs);
      if (future.length === 0) this.#told.delete(client);
      else this.#told.set(client, future);
    }
  }
}

function areKnown(values: (number | null)[]): values is number[] {
  return values.every((value) => value !== null);
}
