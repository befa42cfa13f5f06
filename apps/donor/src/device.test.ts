import { expect, it } from 'vitest';
import { lentThreads } from './device.ts';

it('half of a processor is lent at most, and one thread without shared memory', () => {
  expect([1, 2, 3, 8, 64].map((threads) => lentThreads(threads, true))).toEqual([1, 1, 1, 4, 8]);
  expect(lentThreads(16, false)).toBe(1);
});
