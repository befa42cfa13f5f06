import { exchange } from './exchange.ts';
import { fill } from './fill.ts';
import { improve, type MoveBudget } from './improve.ts';
import { Ledger, peerCapacity } from './ledger.ts';
import { effectiveLoad, replicaCounts } from './replica-counts.ts';
import type {
  ExpertIndex,
  PlacementModel,
  PlacementOptions,
  PlacementPeer,
  PlacementPlan,
  PlacementResult,
} from './types.ts';

/**
 * Map experts to peers: every expert once before any twice, whole layers first, then whole routing groups, then single
 * experts, so that a token's experts of one layer sit on as few peers as possible; among peers with room the less loaded,
 * nearer and better trusted.
 *
 * What peers held in `previous` stays there: only what is missing is added, what is too much is given up, and a bounded
 * number of bytes moves where that saves peers or evens out load. With nothing changed the plan stays the same.
 *
 * Pure: the same arguments give the same plan. Time grows with peers × log peers and with experts, not with their product.
 */
export function planPlacement(
  model: PlacementModel,
  peers: readonly PlacementPeer[],
  options: PlacementOptions,
): PlacementResult {
  const numExperts = model.layers.length * model.expertsPerLayer;
  const previous = options.previous?.held;
  const load = effectiveLoad(numExperts, options.load);
  const counts = wantedCounts(model, peers, load, options);
  const share = load.map((rows, expert) => rows / Math.max(1, counts[expert]!));
  const totalShare = share.reduce((sum, rows, expert) => sum + rows * counts[expert]!, 0);
  const ledger = new Ledger(model, peers, share, totalShare);
  retain(ledger, peers, previous);
  trim(ledger, counts);
  const budget: MoveBudget = {
    experts: Math.floor((options.maxMoveBytes ?? Number.POSITIVE_INFINITY) / model.shardBytes),
    moved: 0,
    deferred: false,
  };
  if (!options.keepOnly) {
    placeMissing(ledger, counts);
    // A move can make the very room that a missing replica has wanted.
    while (improve(ledger, budget) && placeMissing(ledger, counts));
  }
  const held = new Map(ledger.held().map((experts, bin) => [peers[bin]!.peerId, experts]));
  return {
    epoch: (options.previous?.epoch ?? 0) + 1,
    held,
    fetchedBytes: fetchedExperts(held, previous) * model.shardBytes,
    movedBytes: budget.moved * model.shardBytes,
    deferred: budget.deferred,
  };
}

/** Whether anything that was missing has found a place. */
function placeMissing(ledger: Ledger, counts: Int32Array): boolean {
  const before = ledger.numReplicas;
  fill(ledger, counts);
  // One swap can make room for another.
  while (exchange(ledger, counts));
  return ledger.numReplicas > before;
}

/** [numExperts] how many replicas each is to have, given the memory and the donors that there are. */
function wantedCounts(
  model: PlacementModel,
  peers: readonly PlacementPeer[],
  load: Float64Array,
  options: PlacementOptions,
): Int32Array {
  const now = new Int32Array(load.length);
  for (const { peerId } of peers) {
    for (const expert of options.previous?.held.get(peerId) ?? []) if (expert < now.length) now[expert]!++;
  }
  const donors = new Set(peers.map((peer) => peer.donorId)).size;
  return replicaCounts(load, now, {
    slots: peers.reduce((sum, peer) => sum + Math.max(0, peerCapacity(model, peer)), 0),
    replicas: Math.min(donors, options.replicas),
    maxReplicas: Math.min(donors, Math.max(options.replicas, options.maxReplicas ?? 0)),
  });
}

/** Everyone keeps what it held, as far as it still fits. */
function retain(ledger: Ledger, peers: readonly PlacementPeer[], previous: PlacementPlan['held'] | undefined): void {
  for (const [bin, { peerId }] of peers.entries()) {
    for (const expert of previous?.get(peerId) ?? []) {
      if (expert >= ledger.numExperts || ledger.room(bin, ledger.layerOf(expert)) < 1) continue;
      if (ledger.mayHold(bin, expert)) ledger.place(bin, expert);
    }
  }
}

/** Give up replicas beyond what is wanted: the smallest part of the layer first, and of equal ones the busiest peer's. */
function trim(ledger: Ledger, counts: Int32Array): void {
  const scores = Float64Array.from({ length: ledger.numBins }, (_, bin) => ledger.score(bin));
  for (let expert = 0; expert < ledger.numExperts; expert++) {
    const layer = ledger.layerOf(expert);
    while (ledger.holders[expert]!.length > counts[expert]!) {
      let worst = -1;
      for (const bin of ledger.holders[expert]!) {
        const smaller = worst === -1 ? -1 : ledger.heldOf(bin, layer) - ledger.heldOf(worst, layer);
        if (smaller < 0 || (smaller === 0 && scores[bin]! > scores[worst]!)) worst = bin;
      }
      ledger.remove(worst, expert);
    }
  }
}

function fetchedExperts(held: PlacementPlan['held'], previous: PlacementPlan['held'] | undefined): number {
  let fetched = 0;
  for (const [peerId, experts] of held) {
    const before = previous?.get(peerId);
    if (before === undefined || before.length === 0) fetched += experts.length;
    else if (!sameExperts(experts, before)) {
      const had = new Set<ExpertIndex>(before);
      for (const expert of experts) if (!had.has(expert)) fetched++;
    }
  }
  return fetched;
}

function sameExperts(a: readonly ExpertIndex[], b: readonly ExpertIndex[]): boolean {
  return a.length === b.length && a.every((expert, i) => expert === b[i]);
}
