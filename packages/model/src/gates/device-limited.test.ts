import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limitDevices } from './device-limited.ts';
import { openGate } from './index.ts';

/** Experts e, e+1 … of two a peer: expert e is on peer e >> 1. */
const inPairs = (expert: number): number[] => [expert >> 1];

describe('limitDevices', () => {
  it('keeps the peers with the best experts, then the best experts on them', () => {
    //               peer 0      peer 1      peer 2      peer 3
    const scores = [0.9, 0.1, 0.5, 0.45, 0.8, 0.05, 0.7, 0.6];
    const two = limitDevices(scores, 3, { maxPeers: 2, holders: inPairs });
    expect(two).toEqual({ topkIdx: Uint16Array.of(0, 4, 1), peers: [0, 2], changed: true });
    const three = limitDevices(scores, 3, { maxPeers: 3, holders: inPairs });
    expect(three).toEqual({ topkIdx: Uint16Array.of(0, 4, 6), peers: [0, 2, 3], changed: false });
  });

  it('changes nothing where the limit is as wide as the choice', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 8, maxLength: 24 }), (scores) => {
        const best = Array.from(scores.keys())
          .sort((a, b) => scores[b]! - scores[a]! || a - b)
          .slice(0, 4);
        const choice = limitDevices(scores, 4, { maxPeers: 4, holders: inPairs });
        expect([...choice.topkIdx]).toEqual(best);
        expect(choice.changed).toBe(false);
      }),
    );
  });

  it('is the paper’s rule where every expert is on one peer', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0, max: 9_999 }), { minLength: 24, maxLength: 24 }),
        fc.integer({ min: 2, max: 6 }),
        (scores, maxPeers) => {
          const ofPeer = (peer: number): number[] => [4 * peer, 4 * peer + 1, 4 * peer + 2, 4 * peer + 3];
          const affinity = (peer: number): number => Math.max(...ofPeer(peer).map((e) => scores[e]!));
          const kept = [0, 1, 2, 3, 4, 5].sort((a, b) => affinity(b) - affinity(a)).slice(0, maxPeers);
          const best = kept.flatMap(ofPeer).sort((a, b) => scores[b]! - scores[a]!);
          const choice = limitDevices(scores, 6, { maxPeers, holders: (e) => [Math.floor(e / 4)] });
          expect(choice.peers).toEqual(kept);
          expect([...choice.topkIdx]).toEqual(best.slice(0, 6));
        },
      ),
    );
  });

  it('spends no place on a second replica, and picks the replica whose peer holds the next best', () => {
    // Expert 0 is on peers 0 and 1; 1 beside it on peer 1; 2 and 3 on peer 2.
    const holders = (e: number): number[] => [[0, 1], [1], [2], [2]][e]!;
    const choice = limitDevices([0.9, 0.8, 0.7, 0.1], 3, { maxPeers: 2, holders });
    expect(choice).toEqual({ topkIdx: Uint16Array.of(0, 1, 2), peers: [1, 2], changed: false });
  });

  it('leaves what the coordinator computes itself, and what the gate’s groups exclude stays out', () => {
    const holders = (e: number): number[] => (e === 3 ? [] : [e]);
    const choice = limitDevices([0.9, 0.8, 0.7, 0.6], 2, { maxPeers: 1, holders, allowed: (e) => e !== 1 });
    expect(choice).toEqual({ topkIdx: Uint16Array.of(0, 3), peers: [0], changed: true });
  });

  it('takes more peers where so few hold too few experts', () => {
    const choice = limitDevices([0.4, 0.3, 0.2, 0.1], 3, { maxPeers: 1, holders: (e) => [e] });
    expect(choice).toEqual({ topkIdx: Uint16Array.of(0, 1, 2), peers: [0, 1, 2], changed: false });
  });
});

describe('gate device-limited', () => {
  const layer = { layer: 0, numExperts: 8, holders: inPairs };
  const logits = Float64Array.of(0.9, 0.1, 0.5, 0.45, 0.8, 0.05, 0.7, 0.6);

  it('is top k where the limit is as wide as the choice, and keeps to fewer tabs where it is not', () => {
    const rows = { numRows: 1, logits };
    const free = openGate('top-k', { k: 3 }, layer)(rows);
    expect(openGate('device-limited', { k: 3, maxPeers: 3 }, layer)(rows)).toEqual(free);
    expect([...openGate('device-limited', { k: 3, maxPeers: 2 }, layer)(rows).experts]).toEqual([0, 4, 1]);
  });

  it('names a limit of 0, and tabs that are missing', () => {
    expect(() => openGate('device-limited', { k: 3, maxPeers: 0 }, layer)).toThrow('maxPeers is 0');
    expect(() => openGate('device-limited', { k: 3, maxPeers: 2 }, { layer: 0, numExperts: 8 })).toThrow(
      'holders is missing',
    );
  });
});
