import { systemClock, type Clock, type Timer } from '../base/clock.ts';

/** One way to get an answer, which can be given up. */
export interface Attempt<T> {
  result: Promise<T>;
  /** Nobody waits for it any more. */
  cancel: () => void;
}

/**
 * Bounds hedged laps to a share of all laps (Dean & Barroso, "The Tail at Scale", 2013: hedging after the 95th percentile
 * costs about 5 % more work): each lap earns `share` of a hedge, and what is not used is kept up to `burst`.
 */
export class HedgeBudget {
  readonly #share: number;
  readonly #burst: number;
  #balance: number;
  laps = 0;
  hedges = 0;

  constructor(share = 0.05, burst = 4) {
    this.#share = share;
    this.#burst = burst;
    this.#balance = burst;
  }

  earn(): void {
    this.laps++;
    this.#balance = Math.min(this.#burst, this.#balance + this.#share);
  }

  /** Whether another hedge may be sent; if so it is paid for. */
  take(): boolean {
    if (this.#balance < 1) return false;
    this.#balance -= 1;
    this.hedges++;
    return true;
  }
}

/**
 * The primary's answer, or, if it has none after `afterMs`, that of whichever of two is first. The loser is cancelled; an
 * attempt that fails leaves it to the other; if both fail the primary's error is thrown. `start` may decline (undefined).
 */
export async function hedge<T>(
  primary: Attempt<T>,
  afterMs: number,
  start: () => Attempt<T> | undefined,
  clock: Clock = systemClock,
): Promise<{ value: T; by: 'primary' | 'hedge' }> {
  const first = primary.result.then((value) => ({ value, by: 'primary' as const }));
  let timer: Timer | undefined;
  const late = new Promise<'late'>((resolve) => (timer = clock.setTimeout(() => resolve('late'), afterMs)));
  try {
    const outcome = await Promise.race([first, late]);
    if (outcome !== 'late') return outcome;
  } finally {
    clock.clear(timer);
  }
  const secondary = start();
  if (secondary === undefined) return first;
  const second = secondary.result.then((value) => ({ value, by: 'hedge' as const }));
  try {
    const winner = await Promise.any([first, second]);
    (winner.by === 'primary' ? secondary : primary).cancel();
    return winner;
  } catch {
    return first;
  }
}
