import { describe, expect, it } from 'vitest';
import { Grace, type GraceClock, LateAnswer } from './grace.ts';

/** A clock that runs its one timeout when it is told to, and says how long it is. */
function manual() {
  let timeout: (() => void) | undefined;
  const all = { delayMs: 0, expire: () => timeout?.() };
  const clock: GraceClock = {
    setTimeout: (run, delayMs) => {
      [timeout, all.delayMs] = [run, delayMs];
      return { unref: () => {} };
    },
    setImmediate: (run) => void setImmediate(run),
    clear: () => (timeout = undefined),
  };
  return Object.assign(all, { clock });
}

describe('Grace', () => {
  it.each([
    [2, 10],
    [33, 33],
    [700, 50],
  ])('is after %i ms of a pass %i ms', (elapsedMs, delayMs) => {
    const timer = manual();
    new Grace(() => elapsedMs, timer.clock).begin();
    expect(timer.delayMs).toBe(delayMs);
  });

  it('ends with a LateAnswer for all that has not come', async () => {
    const { clock, expire } = manual();
    const grace = new Grace(() => 0, clock);
    const [come, late] = [grace.limit(Promise.resolve(3)), grace.limit(new Promise(() => {}))];
    grace.begin();
    expire();
    expect(await come).toBe(3);
    await expect(late).rejects.toBeInstanceOf(LateAnswer);
  });

  it('counts as in time what arrived while the thread was busy', async () => {
    const { clock, expire } = manual();
    const grace = new Grace(() => 0, clock);
    // As a message of another thread, which is seen after the timers.
    const { port1, port2 } = new MessageChannel();
    const message = new Promise((resolve) => (port2.onmessage = ({ data }) => resolve(data)));
    const limited = grace.limit(message);
    grace.begin();
    port1.postMessage('a mask');
    expire();
    expect(await limited).toBe('a mask');
    port1.close();
  });

  it('does not end after it was closed', async () => {
    const { clock, expire } = manual();
    const grace = new Grace(() => 0, clock);
    let isLate = false;
    grace.limit(new Promise(() => {})).catch(() => (isLate = true));
    grace.begin();
    grace.close();
    expire();
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(isLate).toBe(false);
  });
});
