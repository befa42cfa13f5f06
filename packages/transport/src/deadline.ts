/** The part of a clock that deadlines need. */
export interface DeadlineClock<Timer = unknown> {
  /** Monotonic, in milliseconds. */
  now(): number;
  setTimeout(run: () => void, delayMs: number): Timer;
  clear(timer: Timer): void;
}

const systemClock: DeadlineClock<ReturnType<typeof setTimeout>> = {
  now: () => performance.now(),
  setTimeout: (run, delayMs) => setTimeout(run, delayMs),
  clear: (timer) => clearTimeout(timer),
};

/** A timer that fires this much late tells of a process that was blocked or asleep, not of a busy moment. */
const LATE_MS = 500;

/**
 * Calls `onExpired` after `delayMs` in which the other side could have been heard. Timers run before what arrived is read, so after
 * a time in which this process was blocked everybody would be late: then there is one more interval. Returns the call that cancels.
 */
export function startDeadline<Timer>(
  onExpired: () => void,
  delayMs: number,
  clock: DeadlineClock<Timer> = systemClock as unknown as DeadlineClock<Timer>,
): () => void {
  const dueMs = clock.now() + delayMs;
  const start = (run: () => void): Timer => {
    const timer = clock.setTimeout(run, delayMs);
    // In Node, a deadline alone does not keep the process alive.
    (timer as { unref?: () => void }).unref?.();
    return timer;
  };
  let timer = start(() => {
    if (clock.now() - dueMs < LATE_MS) onExpired();
    else timer = start(onExpired);
  });
  return () => clock.clear(timer);
}
