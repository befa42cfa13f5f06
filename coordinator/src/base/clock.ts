/** What `setTimeout` gave: so much of it as is needed. */
export interface Timer {
  /** It does not keep the process alive by itself. */
  unref(): unknown;
}

/**
 * Time, for whatever has deadlines, hedges or delays. The simulator puts a virtual clock in its place, so that what it
 * drives is the code that serves.
 */
export interface Clock {
  /** Milliseconds since a moment of the clock's own; never goes back. */
  now(): number;
  setTimeout(run: () => void, delayMs: number): Timer;
  setInterval(run: () => void, periodMs: number): Timer;
  /** Of either kind. */
  clear(timer: Timer | undefined): void;
  /** Once what has arrived by now was dealt with. */
  setImmediate(run: () => void): void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (run, delayMs) => setTimeout(run, delayMs),
  setInterval: (run, periodMs) => setInterval(run, periodMs),
  clear: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
  setImmediate: (run) => void setImmediate(run),
};
