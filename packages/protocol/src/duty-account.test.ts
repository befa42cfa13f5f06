import { describe, expect, it } from 'vitest';
import { DUTY_WINDOW_MS, DutyAccount } from './duty-account.ts';

/** Works for `totalMs` as hard as it may, in pieces of `pieceMs`; timers are late by up to `lateMs`. Returns the time computed. */
function workHard(share: number, pieceMs: number, totalMs: number, lateMs = 0): number {
  let nowMs = 0;
  const account = new DutyAccount(() => nowMs);
  account.share = share;
  let busyMs = 0;
  for (let turn = 0; nowMs < totalMs; turn++) {
    const restMs = account.restMs();
    if (restMs > 0) nowMs += restMs + (lateMs * (turn % 3)) / 2;
    else {
      nowMs += pieceMs;
      busyMs += pieceMs;
      account.spend(pieceMs);
    }
  }
  return busyMs;
}

describe('DutyAccount', () => {
  it.each([
    [0.25, 2],
    [0.25, 40],
    [0.05, 5],
    [0.5, 300],
    [0.9, 1],
  ])('keeps a share of %s with laps of %s ms within a tenth over a minute', (share, pieceMs) => {
    for (const lateMs of [0, 4, 16]) {
      const busy = workHard(share, pieceMs, 60_000, lateMs) / 60_000;
      expect(busy).toBeGreaterThan(0.9 * share);
      expect(busy).toBeLessThan(1.1 * share);
    }
  });

  it('limits nothing at a share of 1', () => {
    expect(workHard(1, 7, 60_000)).toBeGreaterThan(59_990);
  });

  it('saves no more than the share of its window while there is nothing to do', () => {
    let nowMs = 0;
    const account = new DutyAccount(() => nowMs);
    account.share = 0.25;
    nowMs = 3_600_000;
    let inARowMs = 0;
    while (account.restMs() === 0) {
      nowMs += 10;
      account.spend(10);
      inARowMs += 10;
    }
    // While it computes, it goes on earning.
    expect(inARowMs).toBeCloseTo((0.25 * DUTY_WINDOW_MS) / 0.75, -2);
  });

  it('counts work that is on its way, and does not forget what was overdrawn when the share changes', () => {
    let nowMs = 0;
    const account = new DutyAccount(() => nowMs);
    account.share = 0.5;
    expect(account.restMs(999)).toBe(0);
    expect(account.restMs(1_100)).toBeCloseTo(200, 0);
    account.spend(2_000);
    account.share = 0.1;
    expect(account.restMs()).toBeCloseTo(10_000, -1);
    nowMs += 10_001;
    expect(account.restMs()).toBe(0);
  });
});
