import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Database, shareDatabase, type SharedDatabase } from '../database/index.ts';
import { memoryDatabase } from '../database/testing/memory-database.ts';
import { ALL } from './cluster.ts';
import { type DatabaseCluster, joinCluster } from './database-cluster.ts';
import { DatabaseQuotas } from './quota-store.ts';
import { StaleTermError, writeAsLeader } from './database-lease.ts';

/** Shorter than the real ones, but long for a machine that is busy. */
const TIMES = { beatMs: 200, deadAfterMs: 2_000, leaseMs: 1_200, leaseMarginMs: 100, jitterMs: 100 };
const KEY = '0123456789abcdef-q8';

let database: Database;
const databases: SharedDatabase[] = [];
const clusters: DatabaseCluster[] = [];

beforeAll(async () => {
  database = await memoryDatabase();
  const share = shareDatabase(database);
  for (const n of [1, 2, 3]) {
    databases.push(share());
    clusters.push(await joinCluster(databases.at(-1)!, KEY, memberOf(n), TIMES));
  }
  await until(() => clusters.every(({ members }) => members.alive().length === 3));
});

afterAll(async () => {
  for (const cluster of clusters) await cluster.close();
  for (const one of [...databases, database]) await one.close();
});

const memberOf = (n: number) => ({ id: `c-0000000${n}`, name: `host-${n}`, address: '127.0.0.1', version: '0.2.0' });

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(5);
}

const [FIRST, SECOND] = ['c-00000001', 'c-00000002'];

/** Waits until all that are open agree on who leads. */
async function settled(among: readonly DatabaseCluster[] = clusters): Promise<DatabaseCluster> {
  const leader = () => among.find(({ lease }) => lease.held !== undefined);
  await until(() => among.every(({ lease }) => lease.leader !== undefined && lease.leader === leader()?.bus.self));
  return leader()!;
}

test('one member leads, and all know it', async () => {
  const leader = await settled();
  expect(leader.lease.held!.term).toBeGreaterThanOrEqual(1);
  expect(clusters.filter(({ lease }) => lease.held !== undefined)).toEqual([leader]);
});

test('messages of any length arrive in their order, at one member or at all others', async () => {
  const heard: string[][] = [[], [], []];
  for (const [i, { bus }] of clusters.entries())
    bus.on('look', (from, { what }) => {
      // The others may still be telling that they have come.
      if (from === FIRST) heard[i]!.push(`${from} ${what.length} ${what.slice(0, 4)}`);
    });
  const { bus } = clusters[0]!;
  const sent: string[] = [];
  for (let n = 0; n < 300; n++) {
    const what = `${n}`.padEnd(64, 'ü');
    bus.send(ALL, 'look', { what });
    sent.push(`${FIRST} 64 ${what.slice(0, 4)}`);
    if (n % 100 === 50) bus.send(SECOND!, 'look', { what: `only ${n}` });
  }
  await until(() => heard[2]!.length >= 300);
  expect(heard[0]).toEqual([]);
  expect(heard[2]).toEqual(sent);
  expect(heard[1]!.filter((text) => text.includes(' 64 '))).toEqual(sent);
  expect(heard[1]).toHaveLength(303);
});

const bucket = (name: string) => ({ name, capacity: 10, perMs: 1e-9, debt: 0, want: 8 });

test('a shared bucket is leased in whole units, refills by the clock of the database, and takes debts and what is given back', async () => {
  const store = new DatabaseQuotas(database);
  const ask = async (debt: number, want: number, name = 'key') => {
    const request = { name, capacity: 100, perMs: 1e-9, debt, want };
    const { granted, level } = (await store.lease([request, { ...request, name: 'other' }])).get(name)!;
    return [granted, Math.round(level * 10) / 10];
  };
  expect(await ask(0, 40)).toEqual([40, 60]);
  expect(await ask(30.5, 40)).toEqual([29, 0.5]);
  expect(await ask(50, 40)).toEqual([0, -49.5]);
  expect(await ask(-20, 0)).toEqual([0, -29.5]);
  expect(await ask(-500, 7)).toEqual([7, 93]);
  // Both at once, as two members would.
  const both = await Promise.all([store.lease([bucket('z'), bucket('a')]), store.lease([bucket('a'), bucket('z')])]);
  expect(both.flatMap((answers) => [...answers.values()].map(({ granted }) => granted))).toEqual([8, 8, 2, 2]);
  await store.tidy();
});

test('a member that closes is gone at once, and its lease is free', async () => {
  const leader = await settled();
  const { term } = leader.lease.held!;
  const others = clusters.filter((one) => one !== leader);
  await leader.close();
  clusters.splice(clusters.indexOf(leader), 1);
  const next = await settled(others);
  expect(next.lease.held!.term).toBeGreaterThan(term);
  await until(() => others.every(({ members }) => members.alive().length === 2));
});

test('a leader that is cut off stops leading before another takes over; a late write of it is refused', async () => {
  const leader = await settled();
  const { term } = leader.lease.held!;
  const line = databases.find((_, i) => `c-0000000${i + 1}` === leader.bus.self)!;
  const others = clusters.filter((one) => one !== leader);
  const write = () =>
    writeAsLeader(database.db, { key: KEY, name: 'placement', holder: leader.bus.self, term }, async () => 'written');
  await expect(write()).resolves.toBe('written');
  let heldAtTakeover: unknown = 'nobody took over';
  for (const { lease } of others)
    lease.events.once('gained', (next) => {
      expect(next).toBeGreaterThan(term);
      heldAtTakeover = leader.lease.held;
    });
  let returned = 0;
  leader.members.events.on('returned', () => returned++);
  line.cut();
  await until(() => leader.members.isCut);
  expect(leader.members.alive(), 'what it last knew').toHaveLength(2);
  await until(() => others.some(({ lease }) => lease.held !== undefined));
  expect(heldAtTakeover).toBeUndefined();
  await expect(write()).rejects.toThrow(StaleTermError);
  await until(() => others.every(({ members }) => members.alive().length === 1));
  line.heal();
  await until(() => returned > 0 && clusters.every(({ members }) => members.alive().length === 2));
});
