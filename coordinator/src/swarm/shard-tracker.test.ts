import { beforeEach, describe, expect, it } from 'vitest';
import { ShardTracker } from './shard-tracker.ts';

const MIB = 2 ** 20;
const nameOf = (i: number): string => i.toString(16).padStart(16, '0');
const NAMES = Array.from({ length: 64 }, (_, i) => nameOf(i));

let nowMs: number;
let tracker: ShardTracker;
let links: Set<string>;
let distrusted: string[];

function start(tabs: number, shardBytes = MIB): void {
  nowMs = 0;
  links = new Set();
  distrusted = [];
  tracker = new ShardTracker({
    names: new Set(NAMES),
    shardBytes,
    nowMs: () => nowMs,
    link: (a, b) => links.add([a, b].toSorted().join(' ')),
    unlink: (a, b) => links.delete([a, b].toSorted().join(' ')),
    onDistrusted: ({ peerId }) => distrusted.push(peerId),
  });
  for (let i = 0; i < tabs; i++) tracker.join({ peerId: `p${i}`, donorId: `d${i}` });
}
beforeEach(() => start(3));

const seek = (
  tab: string,
  wanted: string[],
  have: string[] = [],
  faults: Parameters<ShardTracker['seek']>[1]['faults'] = [],
) => tracker.seek(tab, { wanted, have, faults }).routes;

describe('ShardTracker', () => {
  it('has each shard leave the coordinator once where eight tabs join together, and ends', () => {
    start(8);
    const has = new Map(Array.from({ length: 8 }, (_, i) => [`p${i}`, new Set<string>()]));
    const news = new Map<string, string[]>();
    let fromCoordinator = 0;
    let rounds = 0;
    for (; [...has.values()].some(({ size }) => size < NAMES.length); rounds++) {
      expect(rounds).toBeLessThan(100);
      nowMs += 250;
      for (const [tab, own] of has) {
        // Each in another order, as tabs shuffle.
        const turn = Number(tab.slice(1)) * 8;
        const wanted = [...NAMES.slice(turn), ...NAMES.slice(0, turn)].filter((name) => !own.has(name));
        const routes = seek(tab, wanted, news.get(tab));
        for (const { shard, tab: giver } of routes) {
          if (giver === undefined) fromCoordinator++;
          else expect(has.get(giver)!.has(shard)).toBe(true);
          own.add(shard);
        }
        news.set(
          tab,
          routes.map(({ shard }) => shard),
        );
      }
    }
    expect(fromCoordinator).toBe(NAMES.length);
    // The first eighths at once, then the others' eighths as givers are free.
    expect(rounds).toBeLessThan(24);
    for (const i of has.keys())
      expect([...links].filter((link) => link.split(' ').includes(i)).length).toBeLessThanOrEqual(8);
  });

  it('lets others wait for what one is fetching, until its lease or their patience ends', () => {
    expect(seek('p0', [nameOf(1)])).toEqual([{ shard: nameOf(1) }]);
    expect(seek('p1', [nameOf(1)])).toEqual([]);
    nowMs += 9_999;
    expect(seek('p1', [nameOf(1)])).toEqual([]);
    nowMs += 1;
    expect(seek('p1', [nameOf(1)])).toEqual([{ shard: nameOf(1) }]);
    tracker.leave('p1');
    expect(seek('p2', [nameOf(1)])).toEqual([{ shard: nameOf(1) }]);
  });

  it('gives what a tab fetched to another when the tab has left', () => {
    seek('p0', [nameOf(1)]);
    tracker.leave('p0');
    expect(seek('p1', [nameOf(1)])).toEqual([{ shard: nameOf(1) }]);
  });

  it('names a tab that has the shard, links the two, and only then lets them signal', () => {
    seek('p0', [], [nameOf(1), 'f'.repeat(16)]);
    expect(tracker.areLinked('p1', 'p0')).toBe(false);
    expect(seek('p1', [nameOf(1), 'f'.repeat(16)])).toEqual([{ shard: nameOf(1), tab: 'p0' }]);
    expect([tracker.areLinked('p1', 'p0'), tracker.areLinked('p0', 'p1'), tracker.areLinked('p2', 'p0')]).toEqual([
      true,
      true,
      false,
    ]);
    expect(links).toEqual(new Set(['p0 p1']));
    tracker.leave('p0');
    expect(links.size).toBe(0);
  });

  it('asks no tab for more than a few megabytes at a time', () => {
    seek('p0', [], NAMES);
    const first = seek('p1', NAMES);
    expect(first.filter(({ tab }) => tab === 'p0')).toHaveLength(8);
    expect(first).toHaveLength(8);
    expect(seek('p2', NAMES)).toEqual([]);
    expect(
      seek(
        'p1',
        [],
        first.map(({ shard }) => shard),
      ),
    ).toEqual([]);
    const second = seek('p2', NAMES);
    expect(second.filter(({ tab }) => tab === 'p0')).toHaveLength(8);
    expect(second.filter(({ tab }) => tab === 'p1').length).toBeGreaterThan(0);
  });

  it('does not ask again who failed, and asks others or the coordinator', () => {
    seek('p0', [], [nameOf(1)]);
    seek('p2', [], [nameOf(1)]);
    const [route] = seek('p1', [nameOf(1)]);
    const [again] = seek('p1', [nameOf(1)], [], [{ tab: route!.tab!, shard: nameOf(1), fault: 'stalled' }]);
    expect([route!.tab, again!.tab].toSorted()).toEqual(['p0', 'p2']);
    expect(links.size).toBe(1);
    expect(seek('p1', [nameOf(1)], [], [{ tab: again!.tab!, shard: nameOf(1), fault: 'lacking' }])).toEqual([
      { shard: nameOf(1) },
    ]);
  });

  it('has nobody ask a tab that three donors complain about, and takes no word of those that were not told to ask it', () => {
    start(6);
    seek('p0', [], NAMES);
    const fault = (shard: string) => [{ tab: 'p0', shard, fault: 'wrong-bytes' as const }];
    for (const tab of ['p1', 'p2', 'p3', 'p4', 'p5']) seek(tab, [], [], fault(nameOf(1)));
    expect(distrusted).toEqual([]);
    for (const tab of ['p1', 'p2', 'p3']) {
      expect(seek(tab, [nameOf(1)])).toEqual([{ shard: nameOf(1), tab: 'p0' }]);
      seek(tab, [], [], fault(nameOf(1)));
    }
    expect(distrusted).toEqual(['p0']);
    expect(seek('p4', [nameOf(1)])).toEqual([{ shard: nameOf(1) }]);
  });

  it('introduces no tab to all others at once', () => {
    start(40);
    for (let i = 1; i < 40; i++) seek(`p${i}`, [], [nameOf(i)]);
    const known = new Set<string>();
    for (let i = 1; i < 40; i++) {
      nowMs += 30_000;
      const [route] = seek('p0', [nameOf(i)]);
      if (route?.tab) known.add(route.tab);
    }
    // As many as at once, and the share of 20 minutes.
    expect(known.size).toBeLessThanOrEqual(16 + 11);
    expect([...links].filter((link) => link.split(' ').includes('p0')).length).toBeLessThanOrEqual(8);
  });
});
