import type { WorkItem } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { type AuditedPeer, Auditor } from './auditor.ts';
import { Judge } from './judge.ts';
import { HIDDEN, oneRow, trusted } from './testing/fixtures.ts';

describe('Auditor', () => {
  const row = new Uint16Array(HIDDEN).fill(0x3c00);
  const truth = async (item: WorkItem) => new Float32Array(item.numRows * HIDDEN).fill(2);
  const right = new Float32Array(HIDDEN).fill(2);
  const wrong = new Float32Array(HIDDEN).fill(2.02);

  function auditing(compute = truth, recompute = truth, busyMs = () => 0) {
    const condemned: AuditedPeer[] = [];
    const errors: unknown[] = [];
    const pauses: number[] = [];
    const auditor = new Auditor({
      judge: new Judge({ compute, recompute }),
      busyMs,
      onWrong: (peer) => condemned.push(peer),
      onError: (error) => errors.push(error),
      pause: async (ms) => {
        pauses.push(ms);
        await new Promise(setImmediate);
      },
    });
    const settle = async () => {
      while (auditor.pending > 0) await new Promise(setImmediate);
      await new Promise(setImmediate);
      await new Promise(setImmediate);
    };
    return { auditor, condemned, errors, pauses, settle };
  }

  it('reports a wrong row once, and how many rows were not audited', async () => {
    const { auditor, condemned, settle } = auditing();
    const peer = { peerId: 'tab-1', trust: trusted() };
    auditor.observe(peer, oneRow(row, [0], [1]), right);
    await settle();
    expect(peer.trust.lastGoodRow).toBe(1);
    // At the lowest share, one or two of these are audited.
    peer.trust.record.consecutiveRight = 1e6;
    for (let i = 0; i < 99; i++) auditor.observe(peer, oneRow(row, [0], [1]), wrong);
    await settle();
    expect(condemned).toEqual([peer]);
    expect(peer.trust).toMatchObject({ phase: 'quarantined', failures: 1, usedRows: 100, uncheckedRows: 98 });
    expect(peer.trust.auditShare).toBe(1);
    expect(auditor.counts.wrong).toBe(1);
  });

  it('does not blame a peer for a corrupted cache of the coordinator', async () => {
    const spoilt = async () => new Float32Array(HIDDEN).fill(7);
    const { auditor, condemned, settle } = auditing(spoilt);
    const peer = { peerId: 'tab-1', trust: trusted() };
    auditor.observe(peer, oneRow(row, [0], [1]), right);
    await settle();
    expect(condemned).toEqual([]);
    expect(auditor.counts).toEqual({ right: 1, wrong: 0, incomparable: 0, putOff: 0 });
  });

  it('does not blame a peer for weights that the coordinator cannot read', async () => {
    const { auditor, condemned, errors, settle } = auditing(() => Promise.reject(new Error('disk')));
    const peer = { peerId: 'tab-1', trust: trusted() };
    auditor.observe(peer, oneRow(row, [0], [1]), wrong);
    await settle();
    expect({ condemned, errors: errors.length, phase: peer.trust.phase }).toEqual({
      condemned: [],
      errors: 1,
      phase: 'trusted',
    });
  });

  it('always has room for one row of a peer, which would be given no further rows without an audit', async () => {
    const { auditor, settle } = auditing();
    const peers = Array.from({ length: 80 }, (_, i) => ({ peerId: `tab-${i}`, trust: trusted() }));
    for (const peer of peers) for (let i = 0; i < 256; i++) auditor.observe(peer, oneRow(row, [0], [1]), right);
    expect(peers.map(({ trust }) => trust.rowsAhead)).toEqual(peers.map(() => 0));
    await settle();
    for (const { trust } of peers) expect(trust.rowsAhead).toBeGreaterThan(0);
  });

  it('lets a peer that is far ahead go on after few audits, however many of its rows wait', async () => {
    const order: number[] = [];
    const { auditor } = auditing(async (item) => {
      order.push(item.layer);
      await new Promise(setImmediate);
      return truth(item);
    });
    const peer = { peerId: 'tab-1', trust: trusted() };
    let audits = 0;
    let given = 0;
    while (given < 2_000) {
      for (; peer.trust.rowsAhead > 0; given++)
        auditor.observe(peer, { ...oneRow(row, [0], [1]), layer: given }, right);
      await new Promise(setImmediate);
      audits = order.length;
    }
    expect(audits).toBeLessThan(2_000 / 64);
  });

  it('counts a row that cannot be audited as no reason to give the peer fewer rows', async () => {
    const { auditor, settle } = auditing(() => Promise.reject(new Error('disk')));
    const peer = { peerId: 'tab-1', trust: trusted() };
    for (let i = 0; i < 16; i++) auditor.observe(peer, oneRow(row, [0], [1]), right);
    await settle();
    expect(peer.trust.rowsAhead).toBe(256);
  });

  it('bounds its queue and its CPU time, and serves peers in turn', async () => {
    let busyMs = 0;
    const order: number[] = [];
    const slow = async (item: WorkItem) => {
      busyMs += 2;
      order.push(item.layer);
      return truth(item);
    };
    const { auditor, pauses, settle } = auditing(slow, truth, () => busyMs);
    for (const layer of [1, 2, 3]) {
      const peer = { peerId: `tab-${layer}`, trust: trusted() };
      for (let i = 0; i < 100; i++) auditor.observe(peer, { ...oneRow(row, [0], [1]), layer }, right);
    }
    expect(auditor.pending).toBe(48);
    await settle();
    expect(order.slice(0, 6)).toEqual([1, 2, 3, 1, 2, 3]);
    // A tenth of the time: pauses of nine times as long.
    expect(pauses.slice(1).every((ms) => Math.abs(ms - 18) < 1e-9)).toBe(true);
  });
});
