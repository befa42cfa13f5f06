import type { Clock, Timer } from '../../coordinator/src/base/clock.ts';
import { Events } from './events.ts';

/** Events between turns of the process's own event loop, so that it can be watched and stopped. */
const EVENTS_PER_TURN = 10_000;

class VirtualTimer implements Timer {
  run: (() => void) | undefined;
  constructor(run: () => void) {
    this.run = run;
  }
  unref(): this {
    return this;
  }
}

/** Time that jumps to the next event as soon as nothing is left to do at the current time. */
export class VirtualClock implements Clock {
  readonly #events = new Events<VirtualTimer>();
  #nowMs = 0;
  /** Timers that have fired. */
  events = 0;

  now(): number {
    return this.#nowMs;
  }

  setTimeout(run: () => void, delayMs: number): Timer {
    const timer = new VirtualTimer(run);
    this.#events.schedule(this.#nowMs + Math.max(0, delayMs), timer);
    return timer;
  }

  setInterval(run: () => void, periodMs: number): Timer {
    const timer = new VirtualTimer(() => {
      this.#events.schedule(this.#nowMs + periodMs, timer);
      run();
    });
    this.#events.schedule(this.#nowMs + periodMs, timer);
    return timer;
  }

  clear(timer: Timer | undefined): void {
    if (timer instanceof VirtualTimer) timer.run = undefined;
  }

  setImmediate(run: () => void): void {
    this.setTimeout(run, 0);
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.setTimeout(resolve, delayMs));
  }

  /** Runs all events up to `untilMs`, each after everything that the previous one started. */
  async runUntil(untilMs: number): Promise<void> {
    await settled();
    for (let next = this.#events.takeUntil(untilMs); next; next = this.#events.takeUntil(untilMs)) {
      const { run } = next.event;
      if (run === undefined) continue;
      this.#nowMs = next.atMs;
      run();
      await settled();
      if (++this.events % EVENTS_PER_TURN === 0) await new Promise(setImmediate);
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }
}

/** Waits for pending promises: Node runs `nextTick` callbacks after them, and much sooner than `setImmediate`. */
function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}
