import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Database, migrate, openDatabase, shareDatabase, type SharedDatabase } from '../database/index.ts';
import { ALL } from './cluster.ts';
import { type DatabaseCluster, joinCluster } from './database-cluster.ts';
import { DatabaseQuotas } from './quota-store.ts';
import { StaleTermError, writeAsLeader } from './database-lease.ts';

/** A sixth of the real ones. */
const TIMES = { beatMs: 160, deadAfterMs: 580, leaseMs: 500, leaseMarginMs: 40, jitterMs: 50 };
const KEY = '0123456789abcdef-q8';

let database: Database;
const databases: SharedDatabase[] = [];
const clusters: DatabaseCluster[] = [];

beforeAll(async () => {
  database = await openDatabase({ kind: 'memory' });
  await migrate(database);
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

test('the first member leads, and all know it', () => {
  expect(clusters.map(({ lease }) => lease.leader)).toEqual([FIRST, FIRST, FIRST]);
  expect(clusters.map(({ lease }) => lease.held)).toEqual([{ term: 1 }, undefined, undefined]);
});

test('messages of any length arrive in their order, at one member or at all others', async () => {
  const heard: string[][] = [[], [], []];
  for (const [i, { bus }] of clusters.entries())
    bus.on('look', (from, { what }) => heard[i]!.push(`${from} ${what.length} ${what.slice(0, 4)}`));
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

test('a leader that is cut off stops leading before another takes over; a late write of it is refused', async () => {
  const [first, second] = clusters as [DatabaseCluster, DatabaseCluster];
  const write = (term: number, holder: string) =>
    writeAsLeader(database.db, { key: KEY, name: 'placement', holder, term }, async () => 'written');
  await expect(write(1, FIRST!)).resolves.toBe('written');
  const order: string[] = [];
  first.lease.events.on('lost', () => order.push('first lost it'));
  for (const { lease, bus } of clusters) lease.events.on('gained', (term) => order.push(`${bus.self} gained ${term}`));
  let returned = 0;
  first.members.events.on('returned', () => returned++);
  databases[0]!.cut();
  await until(() => first.members.isCut);
  expect(first.members.alive()).toHaveLength(3);
  // It may still write, had it a way, until the lease is over.
  await until(() => order.length >= 2);
  expect(order[0]).toBe('first lost it');
  expect(order[1]).toMatch(/^c-0000000[23] gained 2$/);
  await expect(write(1, FIRST!)).rejects.toThrow(StaleTermError);
  await until(() => second.members.alive().length === 2);
  databases[0]!.heal();
  await until(() => returned === 1 && clusters.every(({ members }) => members.alive().length === 3));
  expect(first.lease.held).toBeUndefined();
});

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

const bucket = (name: string) => ({ name, capacity: 10, perMs: 1e-9, debt: 0, want: 8 });

test('a member that closes is gone at once, and its lease is free', async () => {
  const leader = clusters.find(({ lease }) => lease.held)!;
  const others = clusters.filter((one) => one !== leader);
  await leader.close();
  await until(
    () => others.every(({ members }) => members.alive().length === 2) && others.some(({ lease }) => lease.held),
  );
  expect(others.find(({ lease }) => lease.held)!.lease.held).toEqual({ term: 3 });
});
