import { beforeEach, describe, expect, it } from 'vitest';
import { rememberConsent, standingConsent, withdrawConsent } from './consent.ts';
import { initialPledgeBytes, nearestStop, PLEDGE_STOPS_BYTES, rememberPledge } from './pledge.ts';
import { MemoryStorage } from './memory-storage.ts';

const MIB = 2 ** 20;

let storage: MemoryStorage;
beforeEach(() => {
  storage = new MemoryStorage();
});

function at(address: string, webdriver = false, navigationType = 'navigate', wasDiscarded = false) {
  const location = new URL(address) as unknown as Location;
  return standingConsent({ storage, location, webdriver, navigationType, wasDiscarded });
}

describe('a page starts by itself', () => {
  it('never on a first visit', () => {
    expect(at('http://localhost:8787/')).toBeUndefined();
  });

  it('after a reload of a tab that was lending, as it was, and not in a copy of that tab', () => {
    rememberConsent(storage, { device: 'cpu', pledgeBytes: 256 * MIB, paused: true, exchangeMbit: 30 });
    expect(at('https://example.test/', false, 'reload')).toEqual({
      device: 'cpu',
      pledgeBytes: 256 * MIB,
      paused: true,
      exchangeMbit: 30,
    });
    // The browser had discarded the tab, whatever it calls that.
    expect(at('https://example.test/', false, 'navigate', true)?.pledgeBytes).toBe(256 * MIB);
    expect(at('https://example.test/', false, 'navigate')).toBeUndefined();
    expect(at('https://example.test/', false, 'back_forward')).toBeUndefined();
    withdrawConsent(storage);
    expect(at('https://example.test/', false, 'reload')).toBeUndefined();
  });

  it.each(['nonsense', '{}', '{"pledgeBytes":"1"}', '{"pledgeBytes":-5}', 'null'])('not because of %s', (stored) => {
    storage.setItem('shoal.lending', stored);
    expect(at('https://example.test/', false, 'reload')).toBeUndefined();
  });

  it('if a program on this machine asks, and neither from elsewhere nor for a person', () => {
    const address = 'http://127.0.0.1:8787/?auto=1&pledge=64';
    expect(at(address, true)).toEqual({ device: 'gpu', pledgeBytes: 64 * MIB, paused: false });
    expect(at(`${address}&device=cpu`, true)?.device).toBe('cpu');
    // Whether weights are exchanged with other tabs is a choice of its own.
    expect(at(address, true)?.exchangeMbit).toBeUndefined();
    expect(at(`${address}&exchange=50`, true)?.exchangeMbit).toBe(50);
    expect(at(`${address}&exchange=0`, true)?.exchangeMbit).toBeUndefined();
    expect(at(address, false)).toBeUndefined();
    expect(at('http://localhost:8787/?auto=1', true)).toEqual({ device: 'gpu', pledgeBytes: 512 * MIB, paused: false });
    expect(at('http://localhost:8787/', true)).toBeUndefined();
    expect(at('https://localhost.example.test/?auto=1', true)).toBeUndefined();
  });
});

describe('the slider starts', () => {
  it('at an eighth of the memory, at most 1 GiB', () => {
    expect([undefined, 0.5, 2, 4, 8].map((gib) => initialPledgeBytes(storage, gib) / MIB)).toEqual([
      1024, 128, 256, 512, 1024,
    ]);
  });

  it('where it was left', () => {
    rememberPledge(storage, 4096 * MIB);
    expect(initialPledgeBytes(storage, 8)).toBe(4096 * MIB);
    storage.setItem('shoal.pledge-mib', '77');
    expect(initialPledgeBytes(storage, 8)).toBe(1024 * MIB);
  });

  it('on one of its stops', () => {
    expect(nearestStop(700 * MIB)).toBe(512 * MIB);
    expect(nearestStop(1)).toBe(PLEDGE_STOPS_BYTES[0]);
    expect(nearestStop(1e15)).toBe(PLEDGE_STOPS_BYTES.at(-1));
  });
});
