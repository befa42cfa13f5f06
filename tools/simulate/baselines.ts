import { rebalanceExperts } from './eplb.ts';
import {
  type ExpertIndex,
  peerCapacity,
  type PlacementModel,
  type PlacementPeer,
  type PlacementPlan,
} from '@shoal/placement';

// Common placements to compare ours with. They ignore donors, speeds and the previous placement.

/** Rendezvous hashing (Thaler & Ravishankar 1998) of experts to peers with room; joins and leaves move few experts. */
export function hashPlacement(model: PlacementModel, peers: readonly PlacementPeer[], replicas = 1): PlacementPlan {
  const held = peers.map(() => new Set<ExpertIndex>());
  const capacity = peers.map((peer) => peerCapacity(model, peer));
  const seeds = peers.map(({ peerId }) => hashText(peerId));
  for (let replica = 0; replica < replicas; replica++) {
    for (let expert = 0; expert < model.layers.length * model.expertsPerLayer; expert++) {
      let best = -1;
      let bestHash = -1;
      for (let i = 0; i < peers.length; i++) {
        const hash = mix(seeds[i]! ^ Math.imul(expert + 1, 0x9e3779b1));
        if (hash <= bestHash || held[i]!.size >= capacity[i]! || held[i]!.has(expert)) continue;
        best = i;
        bestHash = hash;
      }
      if (best !== -1) held[best]!.add(expert);
    }
  }
  return planOf(peers, held);
}

/** Puts expert i on peer i mod P, or on the next peer with room. */
export function roundRobinPlacement(
  model: PlacementModel,
  peers: readonly PlacementPeer[],
  replicas = 1,
): PlacementPlan {
  const held = peers.map(() => new Set<ExpertIndex>());
  const capacity = peers.map((peer) => peerCapacity(model, peer));
  let next = 0;
  for (let replica = 0; replica < replicas; replica++) {
    for (let expert = 0; expert < model.layers.length * model.expertsPerLayer; expert++, next++) {
      for (let probe = 0; probe < peers.length; probe++) {
        const i = (next + probe) % peers.length;
        if (held[i]!.size >= capacity[i]! || held[i]!.has(expert)) continue;
        held[i]!.add(expert);
        break;
      }
    }
  }
  return planOf(peers, held);
}

/**
 * Plain global EPLB, with enough replicas per layer to fill devices evenly. Every device gets its share of every
 * layer, even if it doesn't fit: `overfull` is the fill of the fullest peer relative to its capacity.
 */
export function eplbPlacement(
  model: PlacementModel,
  peers: readonly PlacementPeer[],
  load?: ArrayLike<number>,
): PlacementPlan & { overfull: number } {
  const { expertsPerLayer } = model;
  const perDevice = Math.ceil(expertsPerLayer / peers.length);
  const loads = model.layers.map((_, layer) =>
    Array.from({ length: expertsPerLayer }, (_, e) => load?.[layer * expertsPerLayer + e] ?? 1),
  );
  const numReplicas = perDevice * peers.length;
  const plan = rebalanceExperts(loads, { numReplicas, numGroups: 1, numNodes: 1, numDevices: peers.length });
  const held = peers.map(() => new Set<ExpertIndex>());
  for (const [layer, experts] of plan.expertOfSlot.entries()) {
    for (const [slot, expert] of experts.entries()) {
      held[Math.floor(slot / perDevice)]!.add(layer * expertsPerLayer + expert);
    }
  }
  const overfull = Math.max(...peers.map((peer, i) => held[i]!.size / Math.max(1, peerCapacity(model, peer))));
  return { ...planOf(peers, held), overfull };
}

function planOf(peers: readonly PlacementPeer[], held: readonly Set<ExpertIndex>[]): PlacementPlan {
  return {
    epoch: 1,
    held: new Map(peers.map(({ peerId }, i) => [peerId, [...held[i]!].sort((a, b) => a - b)])),
  };
}

/** MurmurHash3's 32-bit finaliser (Appleby), which scatters neighbouring experts. */
function mix(key: number): number {
  let h = key | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function hashText(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = mix(hash ^ text.charCodeAt(i));
  return hash;
}
