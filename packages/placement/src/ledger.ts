import type { ExpertIndex, PlacementModel, PlacementPeer } from './types.ts';

/**
 * Share of a pledge that weights may fill: the rest is for activations, staging and the driver's own slack
 * (planning table in docs/ARCHITECTURE.md).
 */
export const PLEDGE_FILL = 0.85;

/** How many experts fit a pledge. */
export function capacityInExperts(pledgeBytes: number, shardBytes: number): number {
  return Math.floor((pledgeBytes * PLEDGE_FILL) / shardBytes);
}

/**
 * What a round trip counts against load, both relative to the swarm: a peer at twice the median round trip is chosen as if
 * it had half of a fair share to do already. Load weighs more, since a token's laps wait for its busiest peer too.
 */
const RTT_WEIGHT = 0.5;
/** A peer of which nothing was verified is chosen as if it had a whole fair share to do already. */
const DISTRUST_WEIGHT = 1;
/** No measured round trip or speed counts for more than this many times the median: one bad sample must not empty a peer. */
const MAX_RELATIVE = 8;

/** Shorter round trips are lost in what a lap takes anyway: peers on one machine or in one house are all near. */
const MIN_RTT_MS = 10;

/** Who holds what while a plan is made. Peers are numbers here, in the order given: "bins". */
export class Ledger {
  readonly model: PlacementModel;
  readonly numBins: number;
  readonly numLayers: number;
  readonly numExperts: number;
  /** [numBins] experts that still fit */
  readonly free: Int32Array;
  /** [numBins] who lends it */
  readonly donor: Int32Array;
  /** Placed so far, over all experts. */
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
    this.#speed = relativeToMedian(peers, ({ rowsPerSecond }) => rowsPerSecond);
    this.#penalty = relativeToMedian(peers, ({ rttMs }) => rttMs && Math.max(MIN_RTT_MS, rttMs));
    let speeds = 0;
    for (let bin = 0; bin < this.numBins; bin++) {
      const { maxExpertsPerLayer, trust = 1 } = peers[bin]!;
      this.#maxPerLayer[bin] = Math.min(maxExpertsPerLayer, model.expertsPerLayer);
      this.#penalty[bin] = RTT_WEIGHT * this.#penalty[bin]! + DISTRUST_WEIGHT * (1 - trust);
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

  /** How many more experts of the layer the bin can take. */
  room(bin: number, layer: number): number {
    return Math.min(this.free[bin]!, this.#maxPerLayer[bin]! - this.heldOf(bin, layer));
  }

  /** Whether its GPU can bind one more expert of the layer, memory aside. */
  bindable(bin: number, layer: number): boolean {
    return this.heldOf(bin, layer) < this.#maxPerLayer[bin]!;
  }

  /** How many experts of some layer that it holds nothing of the bin could take. */
  widest(bin: number): number {
    return Math.min(this.free[bin]!, this.#maxPerLayer[bin]!);
  }

  /** Whether no replica of the expert is on the bin's donor, not counting that on bin `except`. */
  mayHold(bin: number, expert: ExpertIndex, except = -1): boolean {
    for (const holder of this.holders[expert]!) {
      if (holder !== except && this.donor[holder] === this.donor[bin]) return false;
    }
    return true;
  }

  share(expert: ExpertIndex): number {
    return this.#share[expert]!;
  }

  /**
   * How little the bin is wanted, lower is better: its load relative to a fair share by speed, with what it would be given
   * beside, and its round trip and trust.
   */
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

/** Who there is, before anything is placed. */
export interface Roster {
  peers: readonly PlacementPeer[];
  /** [peers] experts that each can hold */
  capacity: Int32Array;
  /** [peers] who lends each, counted from 0 */
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

/** Experts of the model that a peer can hold, by its memory and by what its GPU can bind. */
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

/** [peers] each value over the median of those known; the unknown count as the median. */
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

/** The value that would be at `n` if they were sorted (Hoare's quickselect); the values are put in another order. */
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
