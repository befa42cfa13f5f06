import { describe, expect, it } from 'vitest';
import { ADDRESS_BASE_MS, DONOR_BASE_MS, FAILURE_FADES_MS, Quarantine } from './quarantine.ts';

const at = (ms: number) => ({ now: () => ms, epochNow: () => ms });

describe('Quarantine', () => {
  const liar = { donorId: 'd1', address: '192.0.2.1' };

  it('lasts an hour for a donor, longer each time, and forgets', () => {
    let nowMs = 1e12;
    const quarantine = new Quarantine({ now: () => nowMs, epochNow: () => nowMs });
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.add(liar)).toBe(nowMs + DONOR_BASE_MS);
    expect(quarantine.until(liar)).toBe(nowMs + DONOR_BASE_MS);
    nowMs += DONOR_BASE_MS + 1;
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.add(liar) - nowMs).toBeGreaterThan(3 * DONOR_BASE_MS);
    nowMs += 12 * FAILURE_FADES_MS;
    expect(quarantine.add(liar) - nowMs).toBeCloseTo(DONOR_BASE_MS, -3);
  });

  it('ends when it is lifted, and what others still tell of it does not bring it back', () => {
    let nowMs = 1e12;
    const quarantine = new Quarantine({ now: () => nowMs, epochNow: () => nowMs });
    quarantine.add(liar);
    const told = quarantine.entriesOf(liar);
    nowMs += 1_000;
    quarantine.lift('donor d1', nowMs);
    expect([quarantine.until(liar), quarantine.list(), quarantine.size]).toEqual([undefined, [], 0]);
    quarantine.merge(told);
    expect(quarantine.until(liar)).toBeUndefined();
    nowMs += 1_000;
    expect(quarantine.add(liar)).toBe(nowMs + DONOR_BASE_MS);
    expect(quarantine.list()).toEqual([{ key: 'donor d1', untilMs: nowMs + DONOR_BASE_MS }]);
  });

  it('spares a shared address until the third failure', () => {
    const quarantine = new Quarantine(at(1e12));
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
    const quarantine = new Quarantine(at(1e12));
    quarantine.add(liar, true);
    quarantine.add(liar, true);
    expect(quarantine.until(liar)).toBeUndefined();
    expect(quarantine.total).toBe(0);
    quarantine.add(liar, true);
    expect(quarantine.until(liar)).toBeGreaterThan(1e12);
    expect(quarantine.total).toBe(1);
  });

  it('ends the names of a home that has many IPv6 networks, and spares its neighbours', () => {
    const quarantine = new Quarantine(at(1e12));
    const from = (donor: number, address: string) => ({ donorId: `d${donor}`, address });
    const lie = (donor: number, network: number): void => {
      quarantine.add(from(donor, `2001:db8:1:${network.toString(16)}::1`));
    };
    for (let i = 0; i < 5; i++) lie(i, i);
    expect(quarantine.until(from(99, '2001:db8:1:f0::1'))).toBeUndefined();
    lie(5, 5);
    expect(quarantine.until(from(99, '2001:db8:1:f0::1'))).toBeGreaterThan(1e12);
    expect(quarantine.until(from(99, '2001:db8:1:100::1'))).toBeUndefined();
    // Each of a /56 of its own, all of one /48.
    for (let i = 6; i < 12; i++) lie(i, i << 8);
    expect(quarantine.until(from(99, '2001:db8:1:ff00::1'))).toBeGreaterThan(1e12);
    expect(quarantine.until(from(99, '2001:db8:2::1'))).toBeUndefined();
    const next = new Quarantine(at(1e12));
    next.restore(quarantine.kept());
    expect(next.until(from(99, '2001:db8:1:ff00::1'))).toBe(quarantine.until(from(99, '2001:db8:1:ff00::1')));
  });

  it('holds for a browser that drops its key, and for one that makes another but keeps its token', () => {
    const quarantine = new Quarantine(at(1e12));
    const [address, keyed] = ['127.0.0.1', { donorId: 'key', tokenId: 'token', address: '127.0.0.1' }];
    expect(quarantine.add(keyed)).toBe(1e12 + DONOR_BASE_MS);
    expect(quarantine.total).toBe(1);
    expect(quarantine.until({ donorId: 'token', address })).toBe(1e12 + DONOR_BASE_MS);
    expect(quarantine.until({ donorId: 'another', tokenId: 'token', address })).toBe(1e12 + DONOR_BASE_MS);
    expect(quarantine.until({ donorId: 'another', tokenId: 'another token', address })).toBeUndefined();
    // Found out by a coordinator that knows only its key.
    const elsewhere = new Quarantine(at(1e12));
    elsewhere.add({ donorId: 'key', address });
    elsewhere.spread(keyed);
    expect(elsewhere.until({ donorId: 'token', address })).toBe(1e12 + DONOR_BASE_MS);
  });

  it('spares the address of a local reverse proxy', () => {
    const quarantine = new Quarantine(at(1e12));
    for (let i = 0; i < 9; i++) quarantine.add({ donorId: `d${i}`, address: '127.0.0.1' });
    expect(quarantine.until({ donorId: 'other', address: '127.0.0.1' })).toBeUndefined();
    expect(quarantine.until({ donorId: 'd3', address: '127.0.0.1' })).toBeDefined();
  });

  it('remembers a bounded number of donors', () => {
    const quarantine = new Quarantine(at(1e12));
    for (let i = 0; i < 30_000; i++) quarantine.add({ donorId: `d${i}`, address: '127.0.0.1' });
    expect(quarantine.size).toBe(20_000);
  });

  it('is neither lengthened nor ended by a computer clock that is set, and names its end by that clock', () => {
    let [nowMs, epochMs] = [5_000, 1e12];
    const quarantine = new Quarantine({ now: () => nowMs, epochNow: () => epochMs });
    quarantine.add(liar);
    epochMs -= DONOR_BASE_MS;
    expect(quarantine.until(liar)).toBe(epochMs + DONOR_BASE_MS);
    nowMs += DONOR_BASE_MS - 1;
    epochMs += 24 * DONOR_BASE_MS;
    expect(quarantine.until(liar)).toBe(epochMs + 1);
    nowMs += 1;
    epochMs -= 48 * DONOR_BASE_MS;
    expect(quarantine.until(liar)).toBeUndefined();
  });

  it('goes on in the next process, whose clock starts anew, for as long as it would have lasted', () => {
    const before = new Quarantine({ now: () => 9e9, epochNow: () => 1e12 });
    before.add(liar);
    before.add({ donorId: 'harmless', address: '127.0.0.1' }, true);
    const kept = JSON.parse(JSON.stringify(before.kept())) as ReturnType<typeof before.kept>;
    let nowMs = 50;
    const after = new Quarantine({ now: () => nowMs, epochNow: () => 1e12 + DONOR_BASE_MS / 2 });
    after.restore(kept);
    expect(after.until(liar)).toBe(1e12 + DONOR_BASE_MS);
    expect(after.until({ donorId: 'harmless', address: '127.0.0.1' })).toBeUndefined();
    nowMs += DONOR_BASE_MS / 2 + 1;
    expect(after.until(liar)).toBeUndefined();
    // The second failure counts as one, although the first was before the restart.
    expect(after.add(liar) - (1e12 + DONOR_BASE_MS / 2)).toBeGreaterThan(3.5 * DONOR_BASE_MS);
  });

  it('keeps no more than what still counts, and takes up no quarantine longer than any could be', () => {
    let nowMs = 0;
    const quarantine = new Quarantine({ now: () => nowMs, epochNow: () => 1e12 + nowMs });
    quarantine.add(liar);
    nowMs += 4 * FAILURE_FADES_MS;
    expect(quarantine.kept()).toEqual([]);
    quarantine.restore([{ key: 'donor d9', failures: 1, at: 4e12, until: 4e12 }]);
    nowMs += 7 * FAILURE_FADES_MS;
    expect(quarantine.until({ donorId: 'd9', address: '127.0.0.1' })).toBeUndefined();
  });
});
