import type { Timer } from '../../base/clock.ts';
import type { GraceClock } from '../grace.ts';

/** Waits for some turns of the event loop. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

/** A timeout is over after that many turns of the event loop, however long they take. */
export class TurnClock implements GraceClock {
  /** Timeouts that have run out. */
  expired = 0;
  readonly #turns: number;
  readonly #pending = new Set<Timer>();

  constructor(count: number) {
    this.#turns = count;
  }

  setTimeout(run: () => void): Timer {
    const timer: Timer = { unref: () => {} };
    this.#pending.add(timer);
    void turns(this.#turns).then(() => {
      if (!this.#pending.delete(timer)) return;
      this.expired++;
      run();
    });
    return timer;
  }

  setImmediate(run: () => void): void {
    setImmediate(run);
  }

  clear(timer: Timer | undefined): void {
    if (timer) this.#pending.delete(timer);
  }
}
