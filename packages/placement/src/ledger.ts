import type { ExpertIndex, PlacementModel, PlacementPeer } from './types.ts';

/** Share of a pledge that weights may fill; the rest is for activations, staging and the driver's own needs. */
export const PLEDGE_FILL = 0.85;

/** Number of experts that fit a pledge. */
export function capacityInExperts(pledgeBytes: number, shardBytes: number): number {
  return Math.floor((pledgeBytes * PLEDGE_FILL) / shardBytes);
}

/** The least pledge that `experts` experts fit in. */
export function pledgeFor(experts: number, shardBytes: number): number {
  return Math.ceil((experts * shardBytes) / PLEDGE_FILL) + 1;
}

/**
 * Weight of round trip against load, both relative to the swarm: a peer with twice the median round trip counts as if it already
 * had half a fair share of work. Load weighs more, since a token's laps also wait for its busiest peer.
 */
const RTT_WEIGHT = 0.5;
/** A peer with nothing verified counts as if it already had a whole fair share of work. */
const DISTRUST_WEIGHT = 1;
/** Round trips and speeds are clamped to this factor of the median, so that one bad sample doesn't empty a peer. */
const MAX_RELATIVE = 8;

/** Shorter round trips don't matter beside a lap's own time: peers on one machine or in one house are equally near. */
const MIN_RTT_MS = 10;

/** Tracks which peer holds which experts while a plan is made. Peers are numbers ("bins") in the order given. */
export class Ledger {
  readonly model: PlacementModel;
  readonly numBins: number;
  readonly numLayers: number;
  readonly numExperts: number;
  /** [numBins] experts that still fit */
  readonly free: Int32Array;
  /** [numBins] donor's number */
  readonly donor: Int32Array;
  /** Replicas placed so far, over all experts. */
  numReplicas = 0;
  /** [numExperts] bins that hold the expert */
  readonly holders: readonly number[][];
  /** [numLayers] bins that hold something of the layer */
  readonly layerBins: readonly number[][];
  /** [numBins × numLayers] experts of the layer that the bin holds */
  readonly #perLayer: Uint16Array;
  readonly #maxPerLayer: Int32Array;
  /** [numExperts] load that one replica carries */
  readonly #share: Float64Array;
  readonly #numHeld: Int32Array;
  readonly #busy: Float64Array;
  readonly #speed: Float64Array;
  readonly #penalty: Float64Array;
  readonly #meanBusy: number;

  /** `share` is [numExperts]: the load that one replica of the expert will carry; `totalShare` over all replicas. */
  constructor(model: PlacementModel, roster: Roster, share: Float64Array, totalShare: number) {
    const { peers } = roster;
    this.model = model;
    this.numBins = peers.length;
    this.numLayers = model.layers.length;
    this.numExperts = share.length;
    this.free = roster.capacity.slice();
    this.donor = roster.donor;
    this.holders = Array.from({ length: this.numExperts }, () => []);
    this.layerBins = Array.from({ length: this.numLayers }, () => []);
    this.#maxPerLayer = new Int32Array(this.numBins);
    this.#perLayer = new Uint16Array(this.numBins * this.numLayers);
    this.#share = share;
    this.#numHeld = new Int32Array(this.numBins);
    this.#busy = new Float64Array(this.numBins);
    this.#speed = relativeToMedian(peers, ({ assignmentsPerSecond }) => assignmentsPerSecond);
    this.#penalty = relativeToMedian(peers, ({ rttMs }) => rttMs && Math.max(MIN_RTT_MS, rttMs));
    let speeds = 0;
    for (let bin = 0; bin < this.numBins; bin++) {
      const { maxExpertsPerLayer, trust = 1, share: promised = 1 } = peers[bin]!;
      this.#maxPerLayer[bin] = Math.min(maxExpertsPerLayer, model.expertsPerLayer);
      this.#penalty[bin] = RTT_WEIGHT * this.#penalty[bin]! + DISTRUST_WEIGHT * (1 - trust);
      // The backend's speed while it computes, for as much of the time as its donor allows.
      this.#speed[bin]! *= promised;
      speeds += this.#speed[bin]!;
    }
    this.#meanBusy = totalShare / Math.max(1e-9, speeds) || 1;
  }

  layerOf(expert: ExpertIndex): number {
    return Math.floor(expert / this.model.expertsPerLayer);
  }

  /** Experts of the layer that the bin holds. */
  heldOf(bin: number, layer: number): number {
    return this.#perLayer[bin * this.numLayers + layer]!;
  }

  holdsAny(bin: number): boolean {
    return this.#numHeld[bin]! > 0;
  }

  /** Further experts of the layer that the bin can take. */
  room(bin: number, layer: number): number {
    return Math.min(this.free[bin]!, this.#maxPerLayer[bin]! - this.heldOf(bin, layer));
  }

  /** Whether the bin's GPU can bind one more expert of the layer, apart from memory. */
  bindable(bin: number, layer: number): boolean {
    return this.heldOf(bin, layer) < this.#maxPerLayer[bin]!;
  }

  /** Experts that the bin could take of a layer of which it holds nothing. */
  widest(bin: number): number {
    return Math.min(this.free[bin]!, this.#maxPerLayer[bin]!);
  }

  /** Whether the bin's donor has no replica of the expert yet, ignoring the one on bin `except`. */
  mayHold(bin: number, expert: ExpertIndex, except = -1): boolean {
    for (const holder of this.holders[expert]!) {
      if (holder !== except && this.donor[holder] === this.donor[bin]) return false;
    }
    return true;
  }

  share(expert: ExpertIndex): number {
    return this.#share[expert]!;
  }

  /** Cost of placing on the bin, lower is better: its load with `moreLoad` relative to a fair share by speed, its round trip and trust. */
  score(bin: number, moreLoad = 0): number {
    return (this.#busy[bin]! + moreLoad) / this.#speed[bin]! / this.#meanBusy + this.#penalty[bin]!;
  }

  place(bin: number, expert: ExpertIndex): void {
    const layer = this.layerOf(expert);
    this.holders[expert]!.push(bin);
    this.numReplicas++;
    this.free[bin]!--;
    this.#numHeld[bin]!++;
    this.#busy[bin]! += this.#share[expert]!;
    if (this.#perLayer[bin * this.numLayers + layer]!++ === 0) this.layerBins[layer]!.push(bin);
  }

  remove(bin: number, expert: ExpertIndex): void {
    const layer = this.layerOf(expert);
    drop(this.holders[expert]!, bin);
    this.numReplicas--;
    this.free[bin]!++;
    this.#numHeld[bin]!--;
    this.#busy[bin]! -= this.#share[expert]!;
    if (--this.#perLayer[bin * this.numLayers + layer]! === 0) drop(this.layerBins[layer]!, bin);
  }

  /** [numBins] the experts of each, ascending. */
  held(): ExpertIndex[][] {
    const held: ExpertIndex[][] = Array.from({ length: this.numBins }, () => []);
    for (let expert = 0; expert < this.numExperts; expert++) {
      for (const bin of this.holders[expert]!) held[bin]!.push(expert);
    }
    return held;
  }
}

/** The peers and donors, before anything is placed. */
export interface Roster {
  peers: readonly PlacementPeer[];
  /** [peers] experts that each can hold */
  capacity: Int32Array;
  /** [peers] donor's number, from 0 */
  donor: Int32Array;
  numDonors: number;
}

export function rosterOf(model: PlacementModel, peers: readonly PlacementPeer[]): Roster {
  const donors = new Map<string, number>();
  const capacity = new Int32Array(peers.length);
  const donor = new Int32Array(peers.length);
  for (let bin = 0; bin < peers.length; bin++) {
    const peer = peers[bin]!;
    capacity[bin] = peerCapacity(model, peer);
    let number = donors.get(peer.donorId);
    if (number === undefined) donors.set(peer.donorId, (number = donors.size));
    donor[bin] = number;
  }
  return { peers, capacity, donor, numDonors: donors.size };
}

/** Experts of the model that a peer can hold, limited by its memory and by what its GPU can bind. */
export function peerCapacity(model: PlacementModel, peer: PlacementPeer): number {
  return Math.min(
    capacityInExperts(peer.pledgeBytes, model.shardBytes),
    model.layers.length * Math.min(peer.maxExpertsPerLayer, model.expertsPerLayer),
  );
}

function drop(list: number[], value: number): void {
  const at = list.indexOf(value);
  list[at] = list.at(-1)!;
  list.pop();
}

/** [peers] each value relative to the median of the known ones; unknown values count as the median. */
function relativeToMedian(
  peers: readonly PlacementPeer[],
  valueOf: (peer: PlacementPeer) => number | undefined,
): Float64Array {
  const values = new Float64Array(peers.length);
  const known = new Float64Array(peers.length);
  let numKnown = 0;
  for (let bin = 0; bin < peers.length; bin++) {
    const value = valueOf(peers[bin]!);
    if (value === undefined || !(value > 0)) continue;
    values[bin] = value;
    known[numKnown++] = value;
  }
  const median = numKnown === 0 ? 1 : nthSmallest(known.subarray(0, numKnown), numKnown >> 1);
  for (let bin = 0; bin < peers.length; bin++) {
    const value = values[bin]!;
    values[bin] = value === 0 ? 1 : Math.min(MAX_RELATIVE, Math.max(1 / MAX_RELATIVE, value / median));
  }
  return values;
}

/** Returns the n-th smallest value (Hoare's quickselect); reorders `values`. */
function nthSmallest(values: Float64Array, n: number): number {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1]!;
    let i = low;
    let j = high;
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i > j) break;
      const swapped = values[i]!;
      values[i++] = values[j]!;
      values[j--] = swapped;
    }
    if (n <= j) high = j;
    else if (n >= i) low = i;
    else break;
  }
  return values[n]!;
}
