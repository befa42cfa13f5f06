import { expect, it } from 'vitest';
import { Occupancy } from './occupancy.ts';

it('tells busy, waiting and overlapped time apart, and counts none while nothing runs', () => {
  let nowMs = 100;
  const occupancy = new Occupancy(() => nowMs);
  const [a, b] = [{}, {}];
  const after = (ms: number): void => void (nowMs += ms);
  after(1000);
  occupancy.set(a, 'computing');
  after(5);
  occupancy.set(a, 'waiting');
  after(7);
  occupancy.set(b, 'computing');
  after(3);
  occupancy.set(b, 'waiting');
  after(2);
  occupancy.set(a, 'computing');
  occupancy.set(b, 'computing');
  after(11);
  occupancy.end(a);
  occupancy.end(b);
  after(500);
  expect([occupancy.busyMs, occupancy.waitingMs, occupancy.overlappedMs]).toEqual([5 + 3 + 11, 7 + 2, 3]);
  expect(occupancy.passes).toBe(0);
});
