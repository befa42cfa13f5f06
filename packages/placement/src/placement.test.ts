import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { capacityInExperts } from './ledger.ts';
import { planPlacement } from './placement.ts';
import type { PlacementModel, PlacementPeer } from './types.ts';

const model: PlacementModel = { layers: [1, 2, 3, 4, 5], expertsPerLayer: 32, groupsPerLayer: 8, shardBytes: 1000 };
const roomFor = (experts: number): number => Math.ceil((experts * 1000) / 0.85);

function peer(peerId: string, experts: number, more: Partial<PlacementPeer> = {}): PlacementPeer {
  return { peerId, donorId: `donor-${peerId}`, pledgeBytes: roomFor(experts), maxExpertsPerLayer: 1e9, ...more };
}

/** Distinct peers that hold a layer, and how often each of its experts is held. */
function layerView(plan: ReturnType<typeof planPlacement>, layerIndex: number) {
  const counts = Array.from({ length: 32 }, () => 0);
  let peers = 0;
  for (const held of plan.held.values()) {
    const here = held.filter((expert) => Math.floor(expert / 32) === layerIndex);
    if (here.length > 0) peers++;
    for (const expert of here) counts[expert % 32]!++;
  }
  return { peers, counts };
}

describe('planPlacement', () => {
  it('packs whole layers and spreads them over the peers', () => {
    const plan = planPlacement(model, [peer('a', 160), peer('b', 160), peer('c', 160), peer('d', 160)], {
      replicas: 1,
    });
    for (let layer = 0; layer < 5; layer++)
      expect(layerView(plan, layer)).toEqual({ peers: 1, counts: Array.from({ length: 32 }, () => 1) });
    expect([...plan.held.values()].map((held) => held.length / 32).sort()).toEqual([1, 1, 1, 2]);
  });

  it('covers every expert once before any twice', () => {
    const plan = planPlacement(model, [peer('a', 100), peer('b', 100)], { replicas: 2 });
    for (let layer = 0; layer < 5; layer++) {
      const { counts } = layerView(plan, layer);
      expect(Math.min(...counts)).toBeGreaterThanOrEqual(1);
    }
  });

  it('splits a layer into whole routing groups where no peer can take it', () => {
    const plan = planPlacement(
      model,
      ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].map((id) => peer(id, 16)),
      { replicas: 1 },
    );
    for (const held of plan.held.values()) {
      const groups = new Map<number, number>();
      for (const expert of held) groups.set(Math.floor(expert / 4), (groups.get(Math.floor(expert / 4)) ?? 0) + 1);
      expect([...groups.values()].every((size) => size === 4)).toBe(true);
    }
    for (let layer = 0; layer < 5; layer++)
      expect(layerView(plan, layer)).toEqual({ peers: 2, counts: Array.from({ length: 32 }, () => 1) });
  });

  it('never puts two replicas on one donor', () => {
    const plan = planPlacement(model, [peer('a', 160, { donorId: 'one' }), peer('b', 160, { donorId: 'one' })], {
      replicas: 2,
    });
    for (let layer = 0; layer < 5; layer++)
      expect(layerView(plan, layer).counts).toEqual(Array.from({ length: 32 }, () => 1));
  });

  it('honours what a GPU can bind of one layer', () => {
    const plan = planPlacement(model, [peer('a', 160, { maxExpertsPerLayer: 16 }), peer('b', 160)], { replicas: 1 });
    for (let layer = 0; layer < 5; layer++) {
      const here = plan.held.get('a')!.filter((expert) => Math.floor(expert / 32) === layer);
      expect(here.length).toBeLessThanOrEqual(16);
    }
  });

  it('changes nothing when nothing changes, and moves little when a peer comes or goes', () => {
    const peers = ['a', 'b', 'c', 'd'].map((id) => peer(id, 160));
    const first = planPlacement(model, peers, { replicas: 2 });
    const again = planPlacement(model, peers, { replicas: 2, previous: first });
    expect(again.held).toEqual(first.held);
    expect(again.epoch).toBe(first.epoch + 1);
    const joined = planPlacement(model, [...peers, peer('e', 160)], { replicas: 2, previous: again });
    const fetched = [...joined.held].reduce(
      (sum, [id, held]) => sum + held.filter((expert) => !again.held.get(id)?.includes(expert)).length,
      0,
    );
    // Ten layer replicas over five peers: the newcomer's two, and no others.
    expect(fetched).toBeLessThanOrEqual(2 * 32);
    const left = planPlacement(model, peers.slice(1), { replicas: 2, previous: again });
    const refetched = [...left.held].reduce(
      (sum, [id, held]) => sum + held.filter((expert) => !again.held.get(id)!.includes(expert)).length,
      0,
    );
    expect(refetched).toBeLessThanOrEqual(again.held.get('a')!.length + 32);
  });

  it('holds its promises for any peers', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            room: fc.integer({ min: 0, max: 200 }),
            donor: fc.integer({ min: 0, max: 5 }),
            bind: fc.integer({ min: 1, max: 40 }),
          }),
          { maxLength: 12 },
        ),
        fc.integer({ min: 1, max: 3 }),
        (specs, replicas) => {
          const peers = specs.map((spec, i) =>
            peer(`p${i}`, spec.room, { donorId: `d${spec.donor}`, maxExpertsPerLayer: spec.bind }),
          );
          const plan = planPlacement(model, peers, { replicas });
          const seen = new Map<number, string[]>();
          for (const p of peers) {
            const held = plan.held.get(p.peerId)!;
            expect(held.length).toBeLessThanOrEqual(capacityInExperts(p.pledgeBytes, 1000));
            expect(new Set(held).size).toBe(held.length);
            for (const expert of held) seen.set(expert, [...(seen.get(expert) ?? []), p.donorId]);
          }
          for (const holders of seen.values()) {
            expect(holders.length).toBeLessThanOrEqual(replicas);
            expect(new Set(holders).size).toBe(holders.length);
          }
        },
      ),
    );
  });

  it('plans nothing for nobody', () => {
    expect(planPlacement(model, [], { replicas: 2 }).held.size).toBe(0);
  });
});
