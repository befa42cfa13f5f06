import { exchange } from './exchange.ts';
import { fill } from './fill.ts';
import { improve, type MoveBudget } from './improve.ts';
import { Ledger, type Roster, rosterOf } from './ledger.ts';
import { effectiveLoad, replicaCounts } from './replica-counts.ts';
import type { ExpertIndex, PlacementModel, PlacementOptions, PlacementPeer, PlacementResult } from './types.ts';

const NOTHING: readonly ExpertIndex[] = [];

/**
 * Maps experts to peers: every expert once before any twice; whole layers first, then whole routing groups, then single experts,
 * so that a token's experts of one layer are on few peers. Among peers with room, prefers the less loaded, nearer and more trusted.
 *
 * What peers held in `previous` stays where possible: only missing replicas are added, surplus ones are dropped, and a bounded
 * number of bytes moves to save peers or even out load. If nothing has changed, the plan stays the same.
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
  const before = peers.map(({ peerId }) => previous?.get(peerId) ?? NOTHING);
  const roster = rosterOf(model, peers);
  const load = effectiveLoad(numExperts, options.load);
  const counts = wantedCounts(roster, before, load, options);
  const share = new Float64Array(numExperts);
  let totalShare = 0;
  for (let expert = 0; expert < numExperts; expert++) {
    share[expert] = load[expert]! / Math.max(1, counts[expert]!);
    totalShare += share[expert]! * counts[expert]!;
  }
  const ledger = new Ledger(model, roster, share, totalShare);
  retain(ledger, before);
  trim(ledger, counts);
  const budget: MoveBudget = {
    experts: Math.floor((options.maxMoveBytes ?? Number.POSITIVE_INFINITY) / model.shardBytes),
    moved: 0,
    deferred: false,
  };
  if (!options.keepOnly) {
    placeMissing(ledger, counts);
    // A move can free the room that a missing replica needs.
    while (improve(ledger, budget) && placeMissing(ledger, counts));
  }
  const after = ledger.held();
  const held = new Map<string, readonly ExpertIndex[]>();
  for (let bin = 0; bin < peers.length; bin++) held.set(peers[bin]!.peerId, after[bin]!);
  return {
    epoch: (options.previous?.epoch ?? 0) + 1,
    held,
    fetchedBytes: fetchedExperts(after, before) * model.shardBytes,
    movedBytes: budget.moved * model.shardBytes,
    deferred: budget.deferred,
  };
}

/** Places missing replicas; returns whether any found room. */
function placeMissing(ledger: Ledger, counts: Int32Array): boolean {
  const before = ledger.numReplicas;
  fill(ledger, counts);
  // One swap can make room for another.
  while (exchange(ledger, counts));
  return ledger.numReplicas > before;
}

/** [numExperts] wanted replicas of each expert on these peers, given the available memory and donors. */
function wantedCounts(
  { capacity, numDonors }: Roster,
  before: readonly (readonly ExpertIndex[])[],
  load: Float64Array,
  options: PlacementOptions,
): Int32Array {
  const { elsewhere, replicas } = options;
  const own = new Int32Array(load.length);
  for (const experts of before) for (const expert of experts) if (expert < own.length) own[expert]!++;
  const all = own.slice();
  let slots = capacity.reduce((sum, experts) => sum + Math.max(0, experts), 0);
  for (const [expert, count] of elsewhere?.replicas ?? []) {
    all[expert]! += count;
    slots += count;
  }
  const donors = numDonors + (elsewhere?.donors ?? 0);
  const counts = replicaCounts(load, all, {
    slots,
    replicas: Math.min(donors, replicas),
    maxReplicas: Math.min(donors, Math.max(replicas, options.maxReplicas ?? 0)),
  });
  for (const [expert, count] of elsewhere?.replicas ?? []) {
    const wanted = counts[expert]!;
    counts[expert] = Math.max(wanted - count, Math.min(own[expert]!, wanted));
  }
  return counts;
}

/** Lets each peer keep what it held, as far as it still fits. */
function retain(ledger: Ledger, before: readonly (readonly ExpertIndex[])[]): void {
  for (let bin = 0; bin < before.length; bin++) {
    for (const expert of before[bin]!) {
      if (expert >= ledger.numExperts || ledger.room(bin, ledger.layerOf(expert)) < 1) continue;
      if (ledger.mayHold(bin, expert)) ledger.place(bin, expert);
    }
  }
}

/** Drops surplus replicas, first from the smallest part of the layer, ties from the busiest peer. */
function trim(ledger: Ledger, counts: Int32Array): void {
  const scores = new Float64Array(ledger.numBins);
  for (let bin = 0; bin < ledger.numBins; bin++) scores[bin] = ledger.score(bin);
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

/** Number of experts that peers hold now and did not hold before. */
function fetchedExperts(
  after: readonly (readonly ExpertIndex[])[],
  before: readonly (readonly ExpertIndex[])[],
): number {
  let fetched = 0;
  for (let bin = 0; bin < after.length; bin++) {
    const [now, then] = [after[bin]!, before[bin]!];
    if (then.length === 0) fetched += now.length;
    else if (!sameExperts(now, then)) {
      const had = new Set<ExpertIndex>(then);
      for (const expert of now) if (!had.has(expert)) fetched++;
    }
  }
  return fetched;
}

function sameExperts(a: readonly ExpertIndex[], b: readonly ExpertIndex[]): boolean {
  return a.length === b.length && a.every((expert, i) => expert === b[i]);
}
