import { systemClock, type Clock, type Timer } from '../base/clock.ts';

/** One way to get an answer, which can be given up. */
export interface Attempt<T> {
  result: Promise<T>;
  /** Called when the other attempt has answered first. */
  lost: () => void;
}

/** Hedges earned by each lap, and how many may be saved up. */
const SHARE = 0.05;
const BURST = 4;

/**
 * Bounds hedged laps to a share of all laps (Dean & Barroso, "The Tail at Scale", 2013: hedging after the 95th percentile
 * costs about 5 % more work). What hedges win is measured in docs/measurements/hedges.md.
 */
export class HedgeBudget {
  #balance = BURST;

  earn(): void {
    this.#balance = Math.min(BURST, this.#balance + SHARE);
  }

  /** Pays for a hedge; false if the budget has none left. */
  take(): boolean {
    if (this.#balance < 1) return false;
    this.#balance -= 1;
    return true;
  }
}

/**
 * The first attempt's answer, or, where it has none after `afterMs`, the earlier of it and of a second attempt. The loser is
 * told. If one attempt fails the other decides; if both fail the first one's error is thrown. `start` may decline
 * (undefined).
 */
export async function hedge<T>(
  first: Attempt<T>,
  afterMs: number,
  start: () => Attempt<T> | undefined,
  clock: Clock = systemClock,
): Promise<T> {
  if (afterMs === Number.POSITIVE_INFINITY) return first.result;
  const LATE = Symbol('late');
  let timer: Timer | undefined;
  const late = new Promise<typeof LATE>((resolve) => (timer = clock.setTimeout(() => resolve(LATE), afterMs)));
  try {
    const outcome = await Promise.race([first.result, late]);
    if (outcome !== LATE) return outcome as T;
  } finally {
    clock.clear(timer);
  }
  const second = start();
  if (second === undefined) return first.result;
  const won = async (attempt: Attempt<T>, loser: Attempt<T>): Promise<T> => {
    const value = await attempt.result;
    loser.lost();
    return value;
  };
  return Promise.any([won(first, second), won(second, first)]).catch(() => first.result);
}
