import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planPlacement } from './placement.ts';
import type { Elsewhere, PlacementModel, PlacementOptions, PlacementPeer, PlacementResult } from './types.ts';

const model: PlacementModel = { layers: [1, 2, 3, 4, 5], expertsPerLayer: 32, groupsPerLayer: 8, shardBytes: 1000 };

function peer(peerId: string, experts: number, more: Partial<PlacementPeer> = {}): PlacementPeer {
  const pledgeBytes = Math.ceil((experts * 1000) / 0.85);
  return { peerId, donorId: `donor-${peerId}`, pledgeBytes, maxExpertsPerLayer: 1e9, ...more };
}

const peers = (count: number, experts: number): PlacementPeer[] =>
  Array.from({ length: count }, (_, i) => peer(`p${i}`, experts));

/** Copies of each expert. */
function copies(plan: PlacementResult): number[] {
  const counts = Array.from({ length: 160 }, () => 0);
  for (const held of plan.held.values()) for (const expert of held) counts[expert]!++;
  return counts;
}

/** Peers that hold something of each layer. */
function peersPerLayer(plan: PlacementResult): number[] {
  return model.layers.map(
    (_, layer) => [...plan.held.values()].filter((held) => held.some((e) => Math.floor(e / 32) === layer)).length,
  );
}

const anyPeers = fc.array(
  fc.record({
    room: fc.integer({ min: 0, max: 200 }),
    donor: fc.integer({ min: 0, max: 8 }),
    bind: fc.integer({ min: 1, max: 40 }),
    assignmentsPerSecond: fc.integer({ min: 1, max: 1000 }),
    rttMs: fc.integer({ min: 1, max: 500 }),
    trust: fc.integer({ min: 0, max: 4 }),
  }),
  { maxLength: 14 },
);

describe('planning again', () => {
  it('changes nothing when nothing has changed, whoever the peers are', () => {
    fc.assert(
      fc.property(
        anyPeers,
        fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 160, maxLength: 160 }),
        (specs, load) => {
          const given = specs.map(({ room, donor, bind, assignmentsPerSecond, rttMs, trust }, i) =>
            peer(`p${i}`, room, {
              donorId: `d${donor}`,
              maxExpertsPerLayer: bind,
              assignmentsPerSecond,
              rttMs,
              trust: trust / 4,
            }),
          );
          const options: PlacementOptions = { replicas: 2, maxReplicas: 3, load };
          let plan = planPlacement(model, given, options);
          // A plan with deferred changes is continued until it ends.
          for (let i = 0; plan.deferred && i < 8; i++)
            plan = planPlacement(model, given, { ...options, previous: plan });
          const again = planPlacement(model, given, { ...options, previous: plan });
          expect(again.fetchedBytes).toBe(0);
          expect(again.held).toEqual(plan.held);
        },
      ),
    );
  });

  it('fetches at most what left, and what the newcomer takes', () => {
    const before = planPlacement(model, peers(6, 64), { replicas: 2 });
    const left = planPlacement(model, peers(6, 64).slice(1), { replicas: 2, previous: before });
    expect(left.fetchedBytes).toBeLessThanOrEqual(before.held.get('p0')!.length * 1000);
    expect(Math.min(...copies(left))).toBe(2);
    const joined = planPlacement(model, [...peers(6, 64), peer('new', 64)], { replicas: 2, previous: before });
    expect(joined.fetchedBytes).toBe(joined.held.get('new')!.length * 1000);
  });

  it('gathers a layer that was in pieces once a peer has room for the whole of it', () => {
    const tight = planPlacement(model, peers(8, 20), { replicas: 1 });
    expect(copies(tight)).toEqual(Array.from({ length: 160 }, () => 1));
    expect(Math.min(...peersPerLayer(tight))).toBeGreaterThan(1);
    const roomy = planPlacement(model, [...peers(8, 20), peer('big', 160)], { replicas: 1, previous: tight });
    expect(peersPerLayer(roomy)).toEqual([1, 1, 1, 1, 1]);
  });

  it('gathers a second copy beside a whole one whose holder has room to spare', () => {
    const layer = Array.from({ length: 32 }, (_, e) => e);
    const one = { ...model, layers: [1] };
    const held = new Map([
      ['whole', layer],
      ['half', layer.slice(0, 16)],
      ['other half', layer.slice(16)],
    ]);
    const given = [peer('whole', 64), peer('half', 16), peer('other half', 16), peer('new', 32)];
    const plan = planPlacement(one, given, { replicas: 2, previous: { epoch: 1, held } });
    expect(plan.held.get('new')).toEqual(layer);
    expect(plan.deferred).toBe(false);
  });

  it('moves no more bytes than it may, says so, and goes on the next time', () => {
    const tight = planPlacement(model, peers(8, 20), { replicas: 1 });
    const given = [...peers(8, 20), peer('big', 160)];
    let plan: PlacementResult = tight;
    const moved: number[] = [];
    do {
      plan = planPlacement(model, given, { replicas: 1, previous: plan, maxMoveBytes: 40_000 });
      expect(plan.fetchedBytes).toBe(plan.movedBytes);
      moved.push(plan.movedBytes);
    } while (plan.deferred);
    expect(Math.max(...moved)).toBeLessThanOrEqual(40_000);
    expect(moved.length).toBeGreaterThan(3);
    expect(peersPerLayer(plan)).toEqual([1, 1, 1, 1, 1]);
  });

  it('never leaves an expert uncovered to save bytes', () => {
    const before = planPlacement(model, peers(4, 80), { replicas: 1 });
    const left = planPlacement(model, peers(4, 80).slice(1), { replicas: 1, previous: before, maxMoveBytes: 0 });
    expect(copies(left)).toEqual(Array.from({ length: 160 }, () => 1));
    expect(left.movedBytes).toBe(0);
  });

  it('gives a returning peer what it had, and takes the surplus from the busiest', () => {
    const before = planPlacement(model, peers(5, 96), { replicas: 2 });
    const without = planPlacement(model, peers(5, 96).slice(1), { replicas: 2, previous: before });
    const back = new Map(without.held).set('p0', before.held.get('p0')!);
    const after = planPlacement(model, peers(5, 96), { replicas: 2, previous: { epoch: without.epoch, held: back } });
    expect(after.fetchedBytes).toBe(0);
    expect(copies(after)).toEqual(Array.from({ length: 160 }, () => 2));
    expect(after.held.get('p0')!.length).toBeGreaterThan(0);
  });
});

describe('a plan with what is there and nothing else', () => {
  it('fetches and moves nothing, and the next one without that bound goes on', () => {
    fc.assert(
      fc.property(anyPeers, fc.array(fc.integer({ min: 0, max: 159 })), (specs, kept) => {
        const given = specs.map(({ room, donor, bind }, i) =>
          peer(`p${i}`, room, { donorId: `d${donor}`, maxExpertsPerLayer: bind }),
        );
        const held = new Map(given.map(({ peerId }, i) => [peerId, kept.filter((_, k) => k % (i + 1) === 0)]));
        const plan = planPlacement(model, given, { replicas: 2, previous: { epoch: 4, held }, keepOnly: true });
        expect([plan.fetchedBytes, plan.movedBytes, plan.deferred, plan.epoch]).toEqual([0, 0, false, 5]);
        for (const [peerId, experts] of plan.held)
          for (const expert of experts) expect(held.get(peerId)).toContain(expert);
      }),
    );
  });

  it('keeps what was held, and gives the newcomer its part only afterwards', () => {
    const before = planPlacement(model, peers(2, 160), { replicas: 2 });
    const given = peers(3, 160);
    const kept = planPlacement(model, given.slice(1), { replicas: 2, previous: before, keepOnly: true });
    expect(kept.held.get('p1')).toEqual(before.held.get('p1'));
    expect(kept.held.get('p2')).toEqual([]);
    const after = planPlacement(model, given.slice(1), { replicas: 2, previous: kept });
    expect(copies(after)).toEqual(Array.from({ length: 160 }, () => 2));
  });
});

describe('room where it cannot be used', () => {
  it('is made use of by moving something else there', () => {
    // Three donors with room for two thirds each: in any order, the donor with room left cannot take the last replicas.
    fc.assert(
      fc.property(fc.shuffledSubarray(Array.from({ length: 160 }, (_, e) => e)), (hot) => {
        const load = Array.from({ length: 160 }, (_, e) => 100 + 10 * hot.indexOf(e));
        const plan = planPlacement(model, peers(3, 107), { replicas: 2, load });
        expect(copies(plan)).toEqual(load.map(() => 2));
      }),
    );
  });
});

describe('peers that differ', () => {
  const layersOf = (plan: PlacementResult, peerId: string): number => plan.held.get(peerId)!.length / 32;

  it('gives more to the faster', () => {
    const plan = planPlacement(
      model,
      [peer('fast', 160, { assignmentsPerSecond: 900 }), peer('slow', 160, { assignmentsPerSecond: 300 })],
      {
        replicas: 1,
      },
    );
    expect([layersOf(plan, 'fast'), layersOf(plan, 'slow')]).toEqual([4, 1]);
  });

  it('prefers the nearer, and the trusted', () => {
    const near = planPlacement(model, [peer('far', 160, { rttMs: 400 }), peer('near', 160, { rttMs: 20 })], {
      replicas: 1,
    });
    expect(layersOf(near, 'near')).toBeGreaterThan(layersOf(near, 'far'));
    const trusted = planPlacement(model, [peer('new', 160, { trust: 0 }), peer('old', 160, { trust: 1 })], {
      replicas: 1,
    });
    expect(layersOf(trusted, 'old')).toBeGreaterThan(layersOf(trusted, 'new'));
  });

  it('still uses the slow, far and new where the others have no room', () => {
    const plan = planPlacement(
      model,
      [peer('good', 96), peer('bad', 64, { assignmentsPerSecond: 1, rttMs: 2_000, trust: 0 })],
      { replicas: 1 },
    );
    expect(copies(plan)).toEqual(Array.from({ length: 160 }, () => 1));
  });

  it('gives the hottest experts the replicas that there is room for', () => {
    const load = Array.from({ length: 160 }, (_, e) => (e % 32 < 4 ? 1000 : 10));
    const plan = planPlacement(model, peers(5, 36), { replicas: 2, load });
    expect(copies(plan)).toEqual(load.map((rows) => (rows === 1000 ? 2 : 1)));
    const spare = planPlacement(model, [peer('a', 160), peer('b', 160), peer('c', 20)], {
      replicas: 2,
      maxReplicas: 3,
      load,
    });
    expect(copies(spare)).toEqual(load.map((rows) => (rows === 1000 ? 3 : 2)));
  });
});

describe('planning while others have tabs too', () => {
  const elsewhere = (experts: readonly number[]): Elsewhere => ({
    replicas: new Map(experts.map((expert) => [expert, 1])),
    donors: 1,
  });
  const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

  it('fetches nothing that they hold, and gives up nothing for it', () => {
    const [own] = [peer('own', 160)];
    const plan = planPlacement(model, [own], { replicas: 1, elsewhere: elsewhere(range(0, 128)) });
    expect(plan.held.get('own')).toEqual(range(128, 160));
    const previous = { epoch: 1, held: new Map([['own', range(0, 64)]]) };
    const later = planPlacement(model, [own], { replicas: 1, previous, elsewhere: elsewhere(range(0, 128)) });
    expect(later.held.get('own')).toEqual([...range(0, 64), ...range(128, 160)]);
  });

  it('adds the second replicas that they have room for', () => {
    const plan = planPlacement(model, [peer('own', 160)], { replicas: 2, elsewhere: elsewhere(range(0, 160)) });
    expect(plan.held.get('own')).toEqual(range(0, 160));
  });
});
