import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import type { PeerSession } from './peer-session.ts';
import { ALL_EXPERTS, type Home, SimulatedHomes, type SimulationOptions } from './testing/simulated-homes.ts';

/** Steps of virtual time, after each of which the swarm is looked at. */
const STEP_MS = 25;

/**
 * Looks at a simulation all the time: every expert that stops being served must be one that a tab took with it, or that a move
 * costs. What has only just begun to be served may not be known to the leader yet, who then cancels its download.
 */
class Watched {
  readonly sim: SimulatedHomes;
  readonly rng: () => number;
  readonly #latencyMs: number;
  /** Experts that tabs took with them, and until when that explains that they are not served. */
  readonly #taken = new Map<number, number>();
  /** Since when each expert is served. */
  readonly #since = new Map<number, number>();

  constructor(seed: number, given: Partial<SimulationOptions> = {}) {
    this.rng = createRng(seed);
    this.#latencyMs = given.latencyMs ?? [100, 300, 1_000][seed % 3]!;
    this.sim = new SimulatedHomes({
      homes: 2 + (seed % 3),
      rng: this.rng,
      replicas: 1 + (seed % 2),
      ...given,
      latencyMs: this.#latencyMs,
    });
  }

  pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.rng() * from.length)]!;
  }

  /** A tab leaves. Until the leader knows, and its orders are carried out, it may count on what the tab served. */
  leave(peer: PeerSession): void {
    this.took(peer);
    this.sim.leave(peer);
  }

  took({ live }: PeerSession, forMs = 3 * this.#latencyMs): void {
    for (const expert of live) this.#taken.set(expert, this.sim.clock.now() + forMs);
  }

  async run(forMs: number): Promise<void> {
    const { sim } = this;
    const untilMs = sim.clock.now() + forMs;
    for (let now = sim.clock.now(); now < untilMs; now += STEP_MS) {
      const broken = uncovered(sim);
      await sim.clock.runUntil(now + STEP_MS);
      const served = sim.served();
      const gone = [...this.#since].filter(([expert]) => !served.has(expert));
      for (const [expert] of gone) this.#since.delete(expert);
      for (const expert of served) if (!this.#since.has(expert)) this.#since.set(expert, now);
      const lost = gone
        .filter(([expert, since]) => since < now - 2 * this.#latencyMs && (this.#taken.get(expert) ?? 0) < now)
        .map(([expert]) => expert);
      // Where memory is too small for all, the plan leaves out some.
      const planned = lost.filter((expert) => sim.homes.some((home) => isPlanned(home, expert)));
      if (planned.length > uncovered(sim) - broken)
        throw new Error(`experts ${planned.join(', ')} are not served any more at ${now} ms`);
    }
  }
}

const uncovered = ({ homes }: SimulatedHomes): number =>
  homes.reduce((sum, { placement }) => sum + placement.rollout.uncoveredByMoves, 0);
const isPlanned = ({ placement, member }: Home, expert: number): boolean =>
  member.lease.held !== undefined && [...placement.rollout.plan.held.values()].some((held) => held.includes(expert));
const unsettled = (sim: SimulatedHomes): string[] =>
  sim.peers
    .filter((peer) => !peer.settled)
    .map(({ peerId, state, assigned, target, order }) =>
      JSON.stringify({ peerId, state, order, assigned: [...assigned], target: [...target] }),
    );

describe('several homes with one plan', () => {
  it('cover every expert with tabs of all of them, and each tab does its part', async () => {
    const watched = new Watched(1, { homes: 3, replicas: 1 });
    const { sim } = watched;
    for (const home of sim.homes) sim.join(home, 4);
    await watched.run(5_000);
    expect([sim.served().size, unsettled(sim)]).toEqual([ALL_EXPERTS, []]);
    expect(sim.peers.map(({ live }) => live.size)).toEqual([4, 4, 4]);
    expect(sim.homes.map(({ fetched }) => fetched)).toEqual([4, 4, 4]);
    // Only the leader has planned, and the others know by which number.
    expect(sim.homes.map(({ events }) => events.all().length > 0)).toEqual([true, false, false]);
    expect(new Set(sim.homes.map(({ placement }) => placement.plan.epoch)).size).toBe(1);
  });

  it('keep experts served as tabs come and go, with views that are late, and settle', async () => {
    let moves = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const watched = new Watched(seed);
      const { sim, rng } = watched;
      for (let round = 0; round < 40; round++) {
        const dice = rng();
        if (dice < 0.45 && sim.peers.length < 9) sim.join(watched.pick(sim.homes), 2 + Math.floor(rng() * 5));
        else if (dice < 0.6 && sim.peers.length > 3) watched.leave(watched.pick(sim.peers));
        else if (dice < 0.8) {
          sim.load = sim.load.map(() => Math.floor(rng() * 100));
          sim.leader!.placement.planning.soon(0);
        }
        await watched.run(100 + rng() * 900).catch((error: unknown) => {
          throw new Error(`seed ${seed}, round ${round}: ${String(error)}`);
        });
        if (sim.peers.some((peer) => peer.assigned.size > peer.target.size)) moves++;
      }
      await watched.run(60_000);
      expect(unsettled(sim), `seed ${seed}`).toEqual([]);
    }
    expect(moves).toBeGreaterThan(20);
  });
});

const fetched = ({ homes }: SimulatedHomes): number => homes.reduce((sum, home) => sum + home.fetched, 0);

/** Three homes that have settled, with two tabs each that have room to spare. */
async function settledHomes(seed: number): Promise<Watched> {
  const watched = new Watched(seed, { homes: 3, replicas: 1 });
  for (const [i, home] of [...watched.sim.homes, ...watched.sim.homes].entries())
    watched.sim.join(home, 4, { name: `donor ${i}` });
  await watched.run(10_000);
  expect([watched.sim.served().size, unsettled(watched.sim)]).toEqual([ALL_EXPERTS, []]);
  return watched;
}

describe('when a home ends', () => {
  it.each([0, 1])(
    'its tabs go on elsewhere with what they have, and nobody downloads it meanwhile (home %i)',
    async (n) => {
      const watched = await settledHomes(7);
      const { sim } = watched;
      const before = fetched(sim);
      const victim = sim.homes[n]!;
      const orphans = sim.kill(victim);
      for (const peer of orphans) watched.took(peer, 60_000);
      const others = sim.homes.filter((home) => home !== victim);
      for (const [i, { hello, maxExperts }] of orphans.entries()) {
        // One comes back before its home is known to be dead, the other one after.
        sim.clock.setTimeout(
          () => void sim.join(others[i % 2]!, maxExperts, { name: hello.donorToken }),
          i === 0 ? 1_500 : 6_000,
        );
      }
      await watched.run(40_000);
      expect([sim.served().size, unsettled(sim), fetched(sim) - before]).toEqual([ALL_EXPERTS, [], 0]);
      expect(sim.leader).toBe(sim.homes[n === 0 ? 1 : 0]);
    },
  );

  it('the others load what its tabs had if they do not come back', async () => {
    const watched = await settledHomes(8);
    const { sim } = watched;
    for (const peer of sim.kill(sim.homes[2]!)) watched.took(peer, 60_000);
    await watched.run(8_000);
    const [waiting, before] = [sim.served().size, fetched(sim)];
    expect(waiting).toBeLessThan(ALL_EXPERTS);
    await watched.run(30_000);
    expect([sim.served().size, unsettled(sim), fetched(sim) - before]).toEqual([
      ALL_EXPERTS,
      [],
      ALL_EXPERTS - waiting,
    ]);
  });
});

describe('when another leads', () => {
  it('tabs keep what they have, and their homes carry out no order of an earlier one', async () => {
    const watched = await settledHomes(11);
    const { sim } = watched;
    const [first, second, third] = sim.homes as [Home, Home, Home];
    const [peer] = third.peers as [PeerSession];
    const { regime } = sim.boards.published(third.member.members.self.id)!;
    const order = { home: '', regime, peerId: peer.peerId, assigned: new Set([0]), target: new Set([0]) };
    const before = fetched(sim);
    sim.cut(first, 8_000);
    // As its database knows it, its lease is over before another leads.
    await watched.run(3_900);
    expect(sim.leader).toBe(second);
    sim.orders.inject(third.member.members.self.id, { ...order, number: 2 ** 40 });
    await watched.run(20_000);
    expect([sim.served().size, unsettled(sim), fetched(sim) - before]).toEqual([ALL_EXPERTS, [], 0]);
    expect(peer.order).toBeLessThan(2 ** 40);
  });
});

describe('while a home is cut off', () => {
  it.each([0, 1])(
    'its tabs keep what they have, and are part of the plan again when it is back (home %i)',
    async (n) => {
      const watched = await settledHomes(9);
      const { sim } = watched;
      const before = fetched(sim);
      const home = sim.homes[n]!;
      sim.cut(home, 9_000);
      await watched.run(8_900);
      // It plans alone by now, but its tabs download nothing that others serve.
      const joined = sim.join(home, 4, { name: 'newcomer' });
      await watched.run(8_000);
      expect([fetched(sim) - before, unsettled(sim), joined.state]).toEqual([0, [], 'waiting']);
      expect(new Set(sim.homes.map(({ placement }) => placement.plan.epoch)).size).toBe(1);
    },
  );

  it('it replaces what its own tabs take with them, and others replace what is cut off for long', async () => {
    const watched = await settledHomes(10);
    const { sim } = watched;
    const [, home] = sim.homes as [Home, Home];
    const [gone, spare] = home.peers.toSorted((a, b) => b.live.size - a.live.size) as [PeerSession, PeerSession];
    sim.cut(home, 40_000);
    await watched.run(1_000);
    const alone = gone.live.size;
    watched.took(gone, 60_000);
    sim.leave(gone);
    await watched.run(14_000);
    // The other tab of this home has what it lent, as far as it has room.
    expect([alone > 0, spare.live.size]).toEqual([true, Math.min(4, alone + spare.target.size)]);
    await watched.run(60_000);
    expect([sim.served().size, unsettled(sim)]).toEqual([ALL_EXPERTS, []]);
  });
});

describe('several homes, whatever happens to them', () => {
  it('keep experts served that no tab takes with it, and settle', async () => {
    let takeovers = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const watched = new Watched(seed, { homes: 4 });
      const { sim, rng } = watched;
      let name = 0;
      for (let round = 0; round < 25; round++) {
        const dice = rng();
        const alive = sim.homes.filter(({ member }) => !member.isDead);
        if (dice < 0.4 && sim.peers.length < 10)
          sim.join(watched.pick(alive), 2 + Math.floor(rng() * 5), { name: `donor ${name++}` });
        else if (dice < 0.5 && sim.peers.length > 3) watched.leave(watched.pick(sim.peers));
        else if (dice < 0.6 && alive.length > 2) {
          const victim = watched.pick(alive);
          if (victim === sim.leader) takeovers++;
          const others = (): Home[] => sim.homes.filter(({ member }) => !member.isDead);
          for (const peer of sim.kill(victim)) {
            watched.took(peer, 20_000);
            const { donorToken } = peer.hello;
            const rejoin = (): void => void sim.join(watched.pick(others()), peer.maxExperts, { name: donorToken });
            sim.clock.setTimeout(rejoin, rng() * 8_000);
          }
        } else if (dice < 0.75) {
          const home = watched.pick(alive);
          if (home.member.isReachable) sim.cut(home, rng() * 30_000);
        }
        await watched.run(100 + rng() * 3_000).catch((error: unknown) => {
          throw new Error(`seed ${seed}, round ${round}: ${String(error)}`);
        });
      }
      await watched.run(100_000);
      expect(unsettled(sim), `seed ${seed}`).toEqual([]);
    }
    expect(takeovers).toBeGreaterThan(2);
  });
});
