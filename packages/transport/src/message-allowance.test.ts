import { expect, it } from 'vitest';
import { MessageAllowance } from './message-allowance.ts';

const flood = (allowance: MessageAllowance, nowMs: number): number => {
  let taken = 0;
  while (allowance.take(nowMs)) taken++;
  return taken;
};

it('MessageAllowance takes a burst, then what little time brings, however long it was idle', () => {
  const allowance = new MessageAllowance(200_000, 0);
  expect(flood(allowance, 0)).toBe(512);
  expect(flood(allowance, 1_000)).toBeLessThanOrEqual(64);
  expect(flood(allowance, 1_000_000)).toBeLessThanOrEqual(512);
});

it('MessageAllowance takes the answers to frames in the smallest parts, each twice, but saves up no more than a few', () => {
  const allowance = new MessageAllowance(200_000, 0);
  flood(allowance, 0);
  for (let frame = 0; frame < 3; frame++) allowance.sent(50_000);
  expect(flood(allowance, 0)).toBeGreaterThanOrEqual(3 * 2 * 49);
  for (let frame = 0; frame < 10_000; frame++) allowance.sent(200_000);
  expect(flood(allowance, 0)).toBeLessThan(512 + 9 * 2 * 200);
});
