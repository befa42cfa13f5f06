/** A timeout or interval. */
export interface Timer {
  /** Lets the process end while the timer is pending. */
  unref(): unknown;
}

/**
 * Time for everything with deadlines, hedges or delays. The simulator passes a virtual clock instead, so it drives the code
 * that serves.
 */
export interface Clock {
  /** Milliseconds since an arbitrary moment; never goes back. */
  now(): number;
  setTimeout(run: () => void, delayMs: number): Timer;
  setInterval(run: () => void, periodMs: number): Timer;
  /** Clears a timer of either kind. */
  clear(timer: Timer | undefined): void;
  /** Runs after everything that has already arrived was handled. */
  setImmediate(run: () => void): void;
}

/** Unix time in milliseconds that goes on evenly when the system's clock is set: for moments that are shown by their distance. */
export const steadyUnixMs = (): number => performance.timeOrigin + performance.now();

export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (run, delayMs) => setTimeout(run, delayMs),
  setInterval: (run, periodMs) => setInterval(run, periodMs),
  clear: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
  setImmediate: (run) => void setImmediate(run),
};
