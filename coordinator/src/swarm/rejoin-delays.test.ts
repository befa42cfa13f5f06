import { describe, expect, it } from 'vitest';
import { RejoinDelays } from './rejoin-delays.ts';

describe('RejoinDelays', () => {
  function delaysAt() {
    const at = { ms: 0 };
    return { at, delays: new RejoinDelays(() => at.ms) };
  }
  const visitOf = (donorId: string, address = '127.0.0.1', hasServed = true) => ({ donorId, address, hasServed });

  it('let a donor in at once the first time, and later and later from the second on', () => {
    const { at, delays } = delaysAt();
    const waits = Array.from({ length: 6 }, () => {
      at.ms += 10_000;
      delays.useless(visitOf('a'));
      const waitMs = delays.waitMs(visitOf('a'));
      at.ms += waitMs;
      return waitMs / 60_000;
    });
    expect(waits).toEqual([0, 1, 4, 16, 60, 60]);
    expect(delays.waitMs(visitOf('a'))).toBe(0);
    expect(delays.waitMs(visitOf('b'))).toBe(0);
    at.ms += 30 * 60_000 + 1;
    delays.useless(visitOf('a'));
    expect(delays.waitMs(visitOf('a'))).toBe(0);
  });

  it('let no donor in at once that has never served', () => {
    const { delays } = delaysAt();
    delays.useless(visitOf('a', '127.0.0.1', false));
    expect(delays.waitMs(visitOf('a'))).toBe(60_000);
  });

  it('count a visit once, and all tabs of a donor that fail at the same moment', () => {
    const { at, delays } = delaysAt();
    const visit = visitOf('a');
    for (const ms of [0, 20_000]) {
      at.ms = ms;
      delays.useless(visit);
      delays.unfinished(visit);
    }
    expect(delays.waitMs(visit)).toBe(0);
    at.ms = 60_000;
    for (let tab = 0; tab < 8; tab++) delays.useless(visitOf('b', '10.0.0.1'));
    expect(delays.waitMs(visitOf('b'))).toBe(0);
    expect(delays.waitMs(visitOf('c', '10.0.0.1'))).toBe(0);
  });

  it('hold back who leaves again and again before a test or a download is over', () => {
    const { at, delays } = delaysAt();
    const waits = Array.from({ length: 6 }, () => {
      at.ms += 1_000;
      delays.unfinished(visitOf('a', '127.0.0.1', false));
      return Math.round(delays.waitMs(visitOf('a')) / 1_000);
    });
    expect(waits).toEqual([0, 0, 0, 0, 21, 30]);
  });

  it('hold an address back that sends one new name after the other, but not who has proven itself, and never loopback', () => {
    const { delays } = delaysAt();
    for (let i = 0; i < 50; i++) delays.useless(visitOf(`donor-${i}`));
    expect(delays.waitMs(visitOf('another'))).toBe(0);
    for (let i = 0; i < 8; i++) delays.useless(visitOf(`donor-${i + 100}`, '10.0.0.1', false));
    expect(delays.waitMs(visitOf('another', '10.0.0.1'))).toBe(0);
    delays.useless(visitOf('donor-108', '10.0.0.1'));
    expect(delays.waitMs(visitOf('another', '10.0.0.1'))).toBe(60_000);
    expect(delays.waitMs(visitOf('another', '10.0.0.1'), true)).toBe(0);
    expect(delays.waitMs(visitOf('another', '10.0.0.2'))).toBe(0);
    // Each from a /64 of its own, all of one /48.
    for (let i = 0; i < 33; i++) delays.useless(visitOf(`donor-${i + 200}`, `2001:db8:1:${i.toString(16)}00::1`));
    expect(delays.waitMs(visitOf('another', '2001:db8:1:ff00::1'))).toBe(60_000);
    expect(delays.waitMs(visitOf('another', '2001:db8:2::1'))).toBe(0);
  });
});
