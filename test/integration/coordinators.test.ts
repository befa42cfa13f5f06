import { afterAll, beforeAll, expect, it } from 'vitest';
import { MemoryCluster } from '../../coordinator/src/cluster/testing/memory-cluster.ts';
import { MemoryTabBoards } from '../../coordinator/src/cluster/testing/memory-tab-boards.ts';
import { MemoryTabOrders } from '../../coordinator/src/cluster/testing/memory-tab-orders.ts';
import { type Core, createCore } from '../../coordinator/src/index.ts';
import { MemoryGuests } from '../../coordinator/src/swarm/testing/memory-guests.ts';
import { answer } from './answers.ts';
import { GOLDEN } from './golden.ts';
import { tinyConfig } from './tiny-coordinator.ts';
import { until, VirtualDonor } from './virtual-donor.ts';

/** Two coordinators of one cluster, and tabs whose home is the first. */
let home: Core;
let guest: Core;
let donors: VirtualDonor[];
const cluster = new MemoryCluster(2);
const boards = new MemoryTabBoards();
const orders = new MemoryTabOrders();
const guests = new MemoryGuests();

beforeAll(async () => {
  [home, guest] = (await Promise.all([0, 1].map(open))) as [Core, Core];
  donors = await Promise.all(Array.from({ length: 3 }, () => VirtualDonor.join(home, { guests })));
  await until('all experts to be served', () => home.swarm.uncovered() === 0);
});
afterAll(async () => {
  await Promise.all([home.close(), guest.close()]);
  await Promise.all(donors.map((donor) => donor.close()));
});

async function open(member: number): Promise<Core> {
  const { members, lease, bus } = cluster.members[member]!;
  const parts = { members, lease, bus, board: boards.board(bus.self), orders: orders.of(bus.self) };
  const core = await createCore(tinyConfig({ replicas: 2 }), { cluster: parts });
  core.swarm.guests!.links.connector = guests.connector(bus.self);
  return core;
}

/** What each expert is served by there. */
async function linked(): Promise<void> {
  guest.swarm.guests!.links.work();
  await until('links to the tabs of the other', () => [...guest.swarm.serving()].length === donors.length);
}

it('answers at every coordinator as the golden model does, by tabs whose home is another', async () => {
  await linked();
  const golden = GOLDEN[3]!;
  const [own, theirs] = await Promise.all([answer(home, golden.prompt_ids), answer(guest, golden.prompt_ids)]);
  expect([own.ids, theirs.ids]).toEqual([golden.greedy_ids, golden.greedy_ids]);
  for (const core of [home, guest]) {
    expect(core.dispatcher.figures.fallbackAssignments).toBe(0);
    expect(core.dispatcher.figures.tabAssignments).toBeGreaterThan(0);
  }
  expect(guest.swarm.peers).toEqual([]);
  // Each tab's work is counted once, at its home.
  const rows = (): number => donors.reduce((sum, { session }) => sum + session.rows, 0);
  const asked = [home, guest].flatMap(({ swarm }) => [...swarm.serving()]);
  const answered = asked.reduce((sum, { laps }) => sum + laps.rows, 0);
  await until('the home to be told of it', () => rows() === answered);
  expect(donors.reduce((sum, donor) => sum + (donor.standing?.tokensHelped ?? 0), 0)).toBeGreaterThan(0);
});

it('goes on answering when the home ends, and takes its tabs over', async () => {
  const golden = GOLDEN[3]!;
  const before = guest.dispatcher.figures.fallbackAssignments;
  const { ids } = await answer(guest, golden.prompt_ids, {
    onToken: async (_, index) => {
      if (index === 8) {
        cluster.members[0]!.kill();
        boards.end(cluster.members[0]!.members.self.id);
        cluster.expire();
      }
      if (index === 16) await Promise.all(donors.map((donor) => donor.changeHome(guest)));
    },
  });
  expect(ids).toEqual(golden.greedy_ids);
  expect(guest.dispatcher.figures.fallbackAssignments).toBe(before);
  await until(
    'the tabs to serve their new home',
    () => guest.swarm.peers.filter(({ serving }) => serving).length === 3,
  );
  expect(donors.map(({ downloads }) => downloads)).toEqual([0, 0, 0]);
});
