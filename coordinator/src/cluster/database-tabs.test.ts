import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Database, shareDatabase, type SharedDatabase } from '../database/index.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import { type DatabaseCluster, joinCluster } from './database-cluster.ts';
import { DatabaseTabBoard } from './database-tab-board.ts';
import { DatabaseTabOrders } from './database-tab-orders.ts';
import type { PublishedTab, TabView } from './tab-board.ts';
import { orderNumber, type TabOrder } from './tab-orders.ts';
import { tabView } from './testing/tab-view.ts';

/** Shorter than the real ones, but for the lease, which no test takes away. A busy machine may stop for a second at a time. */
const TIMES = { beatMs: 160, deadAfterMs: 700, leaseMs: 20_000, leaseMarginMs: 40, jitterMs: 50 };
const BOARD_TIMES = { gatherMs: 5, betweenMs: 20, homelessMs: 4_000 };
const KEY = '0123456789abcdef-q8';

let database: Database;
const databases: SharedDatabase[] = [];
const clusters: DatabaseCluster[] = [];
const boards: DatabaseTabBoard[] = [];
const orders: DatabaseTabOrders[] = [];
const heard: TabOrder[] = [];

beforeAll(async () => {
  database = await memoryDatabase();
  const share = shareDatabase(database);
  for (const n of [1, 2]) {
    const shared = share();
    databases.push(shared);
    const self = { id: `c-0000000${n}`, name: `host-${n}`, address: '127.0.0.1', version: '0.2.0' };
    const cluster = await joinCluster(shared, KEY, self, TIMES);
    clusters.push(cluster);
    boards.push(new DatabaseTabBoard({ database: shared, cluster, times: BOARD_TIMES }));
    orders.push(new DatabaseTabOrders({ database: shared, cluster }));
  }
  for (const part of [...boards, ...orders]) await part.start();
  orders[1]!.events.on('orders', (read) => heard.push(...read));
  await until(() => clusters.every(({ members }) => members.alive().length === 2));
});

afterAll(async () => {
  for (const part of [...boards, ...orders]) part.close();
  for (const cluster of clusters) await cluster.close();
  for (const one of [...databases, database]) await one.close();
});

async function until(holds: () => boolean): Promise<void> {
  for (let n = 0; !holds(); n++) {
    if (n > 12_000) throw new Error('waited in vain');
    await delay(5);
  }
}

const tab = (given: Parameters<typeof tabView>[0]): PublishedTab => ({
  peerId: given.peerId,
  view: () => tabView(given),
});
const ids = (tabs: Iterable<TabView>): string[] => [...tabs].map(({ peerId }) => peerId).toSorted();

test('a member knows the other’s tabs as they are published, and what it says of itself', async () => {
  const [a, b] = boards as [DatabaseTabBoard, DatabaseTabBoard];
  const given = {
    peerId: 'one',
    assigned: new Set([5, 4, 1, 300]),
    live: new Set([4]),
    kept: [7, 8, 2],
    rttMs: 23,
    trust: { phase: 'trusted', consecutiveRight: 64, verifiedRows: 128 },
  } as const;
  a.publishHome({ follows: 'c-00000002', regime: 3 });
  a.publish(tab(given));
  a.publish(tab({ peerId: 'two' }));
  await until(() => ids(b.remote()).length === 2);
  expect(b.of('one')).toEqual({ ...tabView(given), home: 'c-00000001', isHomeless: false });
  expect(b.home('c-00000001')).toEqual({ follows: 'c-00000002', regime: 3 });
  a.withdraw('two');
  await until(() => ids(b.remote()).length === 1);
  expect(ids(a.remote())).toEqual([]);
  // Many changes take few statements, and none if nothing is different.
  const { writes } = a.counts;
  for (let n = 0; n < 100; n++) {
    a.publish(tab({ ...given, epoch: n }));
    if (n % 10 === 0) await delay(1);
  }
  await until(() => b.of('one')?.epoch === 99);
  for (let n = 0; n < 10; n++) a.publish(tab({ ...given, epoch: 99 }));
  await delay(60);
  expect(a.counts.writes - writes).toBeLessThan(50);
});

test('a row that this version cannot read is a tab that it does not know', async () => {
  const [, b] = boards as [DatabaseTabBoard, DatabaseTabBoard];
  // As if it came with the next batch.
  const version = boards[0]!.counts.writes + 1;
  const row = { cluster: KEY, member: 'c-00000001', peer_id: 'strange', version, view: '{"donorId":"x"}' };
  await database.db.insertInto('cluster_tabs').values(row).execute();
  boards[0]!.publish(tab({ peerId: 'three' }));
  await until(() => b.of('three') !== undefined);
  expect([b.of('strange'), b.counts.unreadable]).toEqual([undefined, 1]);
});

test('orders reach their home once, in the regime for which they are; a stale leader’s are refused', async () => {
  const [leader] = orders as [DatabaseTabOrders];
  const { term } = clusters[0]!.lease.held!;
  const order = (n: number, peerId = 'tab'): TabOrder => ({
    number: orderNumber(term, n),
    home: 'c-00000002',
    regime: 4,
    peerId,
    assigned: new Set([1, 2, 9]),
    target: new Set([1, n]),
  });
  expect(await leader.write(term, 17, [order(1), order(2, 'other')])).toBe(true);
  await until(() => heard.length === 2);
  expect(heard).toEqual([order(1), order(2, 'other')]);
  expect(await leader.write(term, 18, [order(3)])).toBe(true);
  await until(() => heard.length === 3);
  expect([heard[2], orders[1]!.epoch]).toEqual([order(3), 18]);
  expect(await leader.write(term - 1, 99, [order(4)])).toBe(false);
  expect(await orders[1]!.write(term, 99, [order(4)])).toBe(false);
  const { epoch } = await database.db.selectFrom('placements').select('epoch').executeTakeFirstOrThrow();
  expect([Number(epoch), heard.length]).toEqual([18, 3]);
});

test('what happens while a member is cut is known to both once it is back', async () => {
  const [a, b] = boards as [DatabaseTabBoard, DatabaseTabBoard];
  const gone: string[] = [];
  b.events.on('gone', ({ peerId }) => gone.push(peerId));
  databases[0]!.cut();
  await until(() => clusters[0]!.members.isCut);
  a.publishHome({ follows: undefined, regime: 4 });
  a.withdraw('three');
  b.publish(tab({ peerId: 'meanwhile' }));
  await until(() => b.of('one')?.isHomeless === true);
  expect(b.home('c-00000001')).toBeUndefined();
  databases[0]!.heal();
  await until(() => b.home('c-00000001')?.regime === 4 && a.of('meanwhile') !== undefined);
  await until(() => b.of('three') === undefined);
  expect(b.of('one')?.isHomeless).toBe(false);
  expect([ids(b.remote()), gone]).toEqual([['one'], ['three']]);
});

test('the tabs of a member that ends stay for a while, without a home', async () => {
  const [a, b] = boards as [DatabaseTabBoard, DatabaseTabBoard];
  a.close();
  await clusters[0]!.close();
  await until(() => b.of('one')?.isHomeless === true);
  expect(clusters[1]!.members.alive()).toHaveLength(1);
  await until(() => b.of('one') === undefined);
});
