import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { MemoryCluster } from './testing/memory-cluster.ts';
import { ToldMap } from './told-map.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('members know what the others have, also those that join, return or have missed something', async () => {
  const cluster = new MemoryCluster(2);
  const maps = cluster.members.map((member) => new ToldMap(member, 'counts', z.number()));
  const settle = () => vi.advanceTimersByTimeAsync(200);
  const seen = (n: number) => maps.map((map) => [...map.of(`key ${n}`)].join());
  maps[0]!.set('key 1', 5);
  for (let n = 2; n < 500; n++) maps[0]!.set(`key ${n}`, n);
  await settle();
  expect([seen(1), seen(499)]).toEqual([
    ['', '5'],
    ['', '499'],
  ]);
  maps.push(new ToldMap(cluster.add(), 'counts', z.number()));
  await settle();
  expect(seen(1)).toEqual(['', '5', '5']);

  cluster.members[0]!.cut();
  maps[0]!.set('key 1', undefined);
  maps[0]!.set('key 2', 22);
  maps[1]!.set('key 1', 7);
  await settle();
  expect(seen(1), 'what a member that was cut told last').toEqual(['', '5', '5,7']);
  cluster.expire();
  expect(seen(1), 'what a dead member told').toEqual(['', '', '7']);
  cluster.members[0]!.mend();
  await settle();
  expect(seen(1)).toEqual(['7', '', '7']);
  expect(seen(2)).toEqual(['', '22', '22']);

  cluster.members[2]!.kill();
  cluster.expire();
  expect(maps[0]!.others().size).toBe(1);
});

test('a member that is alone tells nobody, and values that do not fit are left out', async () => {
  const cluster = new MemoryCluster(1);
  const [alone] = cluster.members;
  const map = new ToldMap(alone!, 'counts', z.number());
  const send = vi.spyOn(alone!.bus, 'send');
  map.set('a', 1);
  await vi.advanceTimersByTimeAsync(200);
  expect(send).not.toHaveBeenCalled();
  const other = cluster.add();
  other.bus.send(alone!.bus.self, 'told', {
    map: 'counts',
    isAll: true,
    entries: [
      ['b', 2],
      ['c', 'many'],
    ],
  });
  await vi.advanceTimersByTimeAsync(200);
  expect([...map.others().get(other.bus.self)!]).toEqual([['b', 2]]);
});
