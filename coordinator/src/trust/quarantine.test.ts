import { describe, expect, it } from 'vitest';
import { ADDRESS_BASE_MS, DONOR_BASE_MS, FAILURE_FADES_MS, Quarantine } from './quarantine.ts';

describe('Quarantine', () => {
  const liar = { donorId: 'd1', address: '192.0.2.1' };

  it('lasts an hour for a donor, longer each time, and forgets', () => {
    let nowMs = 1e12;
    const quarantine = new Quarantine(() => nowMs);
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.add(liar)).toBe(nowMs + DONOR_BASE_MS);
    expect(quarantine.until(liar)).toBe(nowMs + DONOR_BASE_MS);
    nowMs += DONOR_BASE_MS + 1;
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.add(liar) - nowMs).toBeGreaterThan(3 * DONOR_BASE_MS);
    nowMs += 12 * FAILURE_FADES_MS;
    expect(quarantine.add(liar) - nowMs).toBeCloseTo(DONOR_BASE_MS, -3);
  });

  it('spares a shared address until the third failure', () => {
    const quarantine = new Quarantine(() => 1e12);
    const neighbour = { donorId: 'honest', address: liar.address };
    quarantine.add(liar);
    quarantine.add({ ...liar, donorId: 'd2' });
    expect(quarantine.until(neighbour)).toBeUndefined();
    quarantine.add({ ...liar, donorId: 'd3' });
    expect(quarantine.until(neighbour)! - 1e12).toBeGreaterThanOrEqual(ADDRESS_BASE_MS);
    expect(quarantine.size).toBe(4);
    expect(quarantine.total).toBe(3);
  });

  it('lets a donor that did no harm try twice more', () => {
    const quarantine = new Quarantine(() => 1e12);
    quarantine.add(liar, true);
    quarantine.add(liar, true);
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.total).toBe(0);
    quarantine.add(liar, true);
    expect(quarantine.until(liar)).toBeGreaterThan(1e12);
    expect(quarantine.total).toBe(1);
  });

  it('spares the address of a local reverse proxy', () => {
    const quarantine = new Quarantine(() => 1e12);
    for (let i = 0; i < 9; i++) quarantine.add({ donorId: `d${i}`, address: '127.0.0.1' });
    expect(quarantine.until({ donorId: 'other', address: '127.0.0.1' })).toBeUndefined();
    expect(quarantine.until({ donorId: 'd3', address: '127.0.0.1' })).toBeDefined();
  });

  it('remembers a bounded number of donors', () => {
    const quarantine = new Quarantine(() => 1e12);
    for (let i = 0; i < 30_000; i++) quarantine.add({ donorId: `d${i}`, address: '127.0.0.1' });
    expect(quarantine.size).toBe(20_000);
  });
});
