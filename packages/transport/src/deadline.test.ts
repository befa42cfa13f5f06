import { describe, expect, it } from 'vitest';
import { startDeadline } from './deadline.ts';

/** Time stands still until a test moves it; then the timers that are due run, however late. */
function virtualClock() {
  let nowMs = 0;
  let nextId = 1;
  const timers = new Map<number, { dueMs: number; run: () => void }>();
  return {
    timers,
    now: () => nowMs,
    setTimeout(run: () => void, delayMs: number): number {
      timers.set(nextId, { dueMs: nowMs + delayMs, run });
      return nextId++;
    },
    clear: (id: number) => void timers.delete(id),
    /** One step, as after a time in which the process was blocked. */
    jumpTo(toMs: number): void {
      nowMs = toMs;
      for (const [id, { dueMs, run }] of timers) {
        if (dueMs > nowMs) continue;
        timers.delete(id);
        run();
      }
    },
  };
}

describe('startDeadline', () => {
  it('expires on time, and not before', () => {
    const clock = virtualClock();
    let expired = 0;
    startDeadline(() => expired++, 1_000, clock);
    clock.jumpTo(999);
    expect(expired).toBe(0);
    clock.jumpTo(1_010);
    expect(expired).toBe(1);
  });

  it('gives one more interval, and no second one, where the process was blocked', () => {
    const clock = virtualClock();
    let expired = 0;
    startDeadline(() => expired++, 1_000, clock);
    clock.jumpTo(30_000);
    expect(expired).toBe(0);
    clock.jumpTo(90_000);
    expect(expired).toBe(1);
    expect(clock.timers.size).toBe(0);
  });

  it('never expires once it is cancelled, in its second interval either', () => {
    const clock = virtualClock();
    let expired = 0;
    const cancel = startDeadline(() => expired++, 1_000, clock);
    clock.jumpTo(30_000);
    cancel();
    clock.jumpTo(90_000);
    expect(expired).toBe(0);
  });
});
