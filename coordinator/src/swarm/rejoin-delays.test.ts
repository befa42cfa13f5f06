import { describe, expect, it } from 'vitest';
import { RejoinDelays } from './rejoin-delays.ts';

describe('RejoinDelays', () => {
  function delaysAt() {
    const at = { ms: 0 };
    return { at, delays: new RejoinDelays(() => at.ms) };
  }
  const local = (donorId: string) => ({ donorId, address: '127.0.0.1', hasServed: true });

  it('let a donor in at once the first time, and later and later from the second on', () => {
    const { at, delays } = delaysAt();
    const waits = Array.from({ length: 6 }, () => {
      delays.add(local('a'));
      const waitMs = delays.waitMs(local('a'));
      at.ms += waitMs;
      return waitMs / 60_000;
    });
    expect(waits).toEqual([0, 1, 4, 16, 60, 60]);
    expect(delays.waitMs(local('a'))).toBe(0);
    expect(delays.waitMs(local('b'))).toBe(0);
    at.ms += 30 * 60_000 + 1;
    delays.add(local('a'));
    expect(delays.waitMs(local('a'))).toBe(0);
  });

  it('let no donor in at once that has never served', () => {
    const { delays } = delaysAt();
    delays.add({ ...local('a'), hasServed: false });
    expect(delays.waitMs(local('a'))).toBe(60_000);
  });

  it('hold an address back that sends one new name after the other, but never loopback', () => {
    const { delays } = delaysAt();
    for (let i = 0; i < 50; i++) delays.add(local(`donor-${i}`));
    expect(delays.waitMs(local('another'))).toBe(0);
    const foreign = (i: number, address: string) => ({ donorId: `donor-${i}`, address, hasServed: true });
    for (let i = 0; i < 8; i++) delays.add(foreign(i, '10.0.0.1'));
    expect(delays.waitMs(foreign(99, '10.0.0.1'))).toBe(0);
    delays.add(foreign(8, '10.0.0.1'));
    expect(delays.waitMs(foreign(99, '10.0.0.1'))).toBe(60_000);
    expect(delays.waitMs(foreign(99, '10.0.0.2'))).toBe(0);
    // Each from a /64 of its own, all of one /48.
    for (let i = 0; i < 33; i++) delays.add(foreign(i, `2001:db8:1:${i.toString(16)}00::1`));
    expect(delays.waitMs(foreign(99, '2001:db8:1:ff00::1'))).toBe(60_000);
    expect(delays.waitMs(foreign(99, '2001:db8:2::1'))).toBe(0);
  });
});
