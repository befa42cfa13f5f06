import { expect, it } from 'vitest';
import { Backoff } from './backoff.ts';
import { Tally } from './tally.ts';

it('doubles up to half a minute, spread over half of it, and starts again after success', () => {
  const backoff = new Backoff();
  for (const fullMs of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    const delayMs = backoff.nextDelayMs();
    expect(delayMs).toBeGreaterThanOrEqual(fullMs / 2);
    expect(delayMs).toBeLessThanOrEqual(fullMs);
  }
  backoff.reset();
  expect(backoff.nextDelayMs()).toBeLessThanOrEqual(1000);
});

it('adds up a counter that starts again', () => {
  const tally = new Tally();
  expect([5, 8, 3, 10].map((value) => tally.read(value))).toEqual([5, 3, 3, 7]);
  tally.restart();
  expect(tally.read(12)).toBe(12);
  expect(tally.total).toBe(30);
});
