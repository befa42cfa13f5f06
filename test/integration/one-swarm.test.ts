import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DatabaseCluster, joinCluster } from '../../coordinator/src/cluster/database-cluster.ts';
import { DatabaseTabBoard } from '../../coordinator/src/cluster/database-tab-board.ts';
import { DatabaseTabOrders } from '../../coordinator/src/cluster/database-tab-orders.ts';
import { type Database, shareDatabase, type SharedDatabase } from '../../coordinator/src/database/index.ts';
import { memoryDatabase } from '../../coordinator/src/database/testing/memory-database.ts';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { MemoryGuests } from '../../coordinator/src/swarm/testing/memory-guests.ts';
import { answer } from './answers.ts';
import { GOLDEN } from './golden.ts';
import { tinyConfig } from './tiny-coordinator.ts';
import { until, VirtualDonor } from './virtual-donor.ts';

/** A coordinator of the cluster, and what it shares. */
interface Member {
  core: Core;
  cluster: DatabaseCluster;
  share: SharedDatabase;
  parts: { close(): void }[];
}

/** Faster than in truth, so that a member's end is noticed in a second and a half. */
const TIMES = { beatMs: 150, deadAfterMs: 1_500, leaseMs: 1_500, leaseMarginMs: 100, jitterMs: 50 };

let database: Database;
let members: Member[] = [];
let donors: VirtualDonor[] = [];
const guests = new MemoryGuests();
const golden = GOLDEN[3]!;

beforeAll(async () => {
  database = await memoryDatabase();
  const shareOne = shareDatabase(database);
  for (const n of [1, 2]) members.push(await open(n, shareOne()));
  await until('both to know each other', () => members.every(({ cluster }) => cluster.members.alive().length === 2));
  // Two tabs of each have just enough memory for all experts: every coordinator needs the tabs of the other.
  const pledgeBytes = enoughFor(4);
  donors = await Promise.all(
    members.flatMap(({ core }) => [0, 1].map(() => VirtualDonor.join(core, { guests, pledgeBytes }))),
  );
  await until('all experts to be served', () => members.every(({ core }) => core.swarm.uncovered() === 0));
});

afterAll(async () => {
  await Promise.all(donors.map((donor) => donor.close()));
  for (const { core, cluster, parts } of members) {
    await core.close();
    for (const part of parts) part.close();
    await cluster.close();
  }
  for (const one of [...members.map(({ share }) => share), database]) await one.close();
});

async function open(n: number, share: SharedDatabase): Promise<Member> {
  const self = { id: `c-0000000${n}`, name: `host-${n}`, address: '127.0.0.1', version: '0.2.0' };
  const cluster = await joinCluster(share, '0123456789abcdef-q8', self, TIMES);
  const times = { gatherMs: 10, betweenMs: 50, homelessMs: 5_000 };
  const board = new DatabaseTabBoard({ database: share, cluster, times });
  const orders = new DatabaseTabOrders({ database: share, cluster });
  await Promise.all([board.start(), orders.start()]);
  const core = await createCore(tinyConfig(), { joinCluster: async () => ({ ...cluster, board, orders }) });
  core.swarm.guests!.links.connector = guests.connector(self.id);
  return { core, cluster, share, parts: [board, orders] };
}

/** Memory of a tab of which `tabs` together hold every expert once. */
function enoughFor(tabs: number): number {
  const { layers, expertsPerLayer, shardBytes } = members[0]!.core.swarm.model;
  return Math.ceil((layers.length * expertsPerLayer * shardBytes) / tabs / 0.85) + 1;
}

async function linked({ core }: Member, tabs: number): Promise<void> {
  core.swarm.guests!.links.work();
  await until('links to the tabs of the other', () => [...core.swarm.serving()].length === tabs);
}

it('answers at every coordinator as the golden model does, with each expert on a tab of one of them', async () => {
  const [first, second] = members as [Member, Member];
  await Promise.all(members.map((member) => linked(member, 4)));
  const [own, theirs] = await Promise.all(members.map(({ core }) => answer(core, golden.prompt_ids)));
  expect([own!.ids, theirs!.ids]).toEqual([golden.greedy_ids, golden.greedy_ids]);
  for (const { core } of members) {
    expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
    expect(core.swarm.peers).toHaveLength(2);
    expect(core.swarm.peers.every(({ live, settled }) => settled && live.size > 0)).toBe(true);
  }
  await until('one placement', () => first.core.swarm.plan.epoch === second.core.swarm.plan.epoch);
  // Each tab's work is counted once, at its home.
  const rows = (): number => donors.reduce((sum, { session }) => sum + session.rows, 0);
  const asked = members.flatMap(({ core }) => [...core.swarm.serving()]);
  const answered = asked.reduce((sum, { laps }) => sum + laps.rows, 0);
  await until('the homes to be told of it', () => rows() === answered);
  expect(donors.reduce((sum, donor) => sum + (donor.standing?.tokensHelped ?? 0), 0)).toBeGreaterThan(0);
});

it('goes on answering when the coordinator that leads ends, which leaves its tabs to the other', async () => {
  const [first, second] = members as [Member, Member];
  expect(first.cluster.lease.held).toBeDefined();
  const orphans = donors.slice(0, 2);
  const { ids } = await answer(second.core, golden.prompt_ids, {
    onToken: async (_, index) => {
      // As kill -9 does it: nobody is told.
      if (index === 8) first.share.cut();
      if (index === 16) await Promise.all(orphans.map((donor) => donor.changeHome(second.core)));
    },
  });
  expect(ids).toEqual(golden.greedy_ids);
  await until('it to lead', () => second.cluster.lease.held !== undefined);
  await until(
    'all tabs to serve there, and every expert to be served',
    () =>
      second.core.swarm.uncovered() === 0 &&
      second.core.swarm.peers.filter(({ serving, settled }) => serving && settled).length === 4,
  );
  // Nobody has downloaded what the others brought with them.
  expect(donors.map(({ downloads }) => downloads)).toEqual([0, 0, 0, 0]);
});
