/** An expert of the whole model as one number: index of its MoE layer × experts per layer + expert. */
export type ExpertIndex = number;

/** What placement has to know of a model. */
export interface PlacementModel {
  /** Model layer numbers of the MoE layers, ascending. */
  layers: readonly number[];
  expertsPerLayer: number;
  /** Routing groups per layer (`n_group`); 1 where the gate has none. Experts of a group are contiguous. */
  groupsPerLayer: number;
  /** Bytes of one expert's shard; all have the same size. */
  shardBytes: number;
}

/** What placement has to know of a peer. */
export interface PlacementPeer {
  peerId: string;
  /** Who lends it; two replicas of an expert are never on one donor. */
  donorId: string;
  pledgeBytes: number;
  /** How many experts of one layer its GPU can bind at once. */
  maxExpertsPerLayer: number;
}

export interface PlacementPlan {
  epoch: number;
  /** What each peer is to hold, ascending. Every peer that was asked about has an entry. */
  held: ReadonlyMap<string, readonly ExpertIndex[]>;
}

/**
 * Share of a pledge that weights may fill: the rest is for activations, staging and the driver's own slack
 * (planning table in docs/ARCHITECTURE.md).
 */
export const PLEDGE_FILL = 0.85;

/** How many experts fit a pledge. */
export function capacityInExperts(pledgeBytes: number, shardBytes: number): number {
  return Math.floor((pledgeBytes * PLEDGE_FILL) / shardBytes);
}

interface Bin {
  peer: PlacementPeer;
  capacity: number;
  /** Experts that a fair share, by capacity and rounded up to a whole layer, would give it. */
  fairShare: number;
  held: Set<ExpertIndex>;
  /** [layers] how many experts of the layer it holds. */
  perLayer: Int32Array;
  before: ReadonlySet<ExpertIndex>;
}

/**
 * Map experts to peers: every expert once before any twice, whole layers first, then whole routing groups, then single
 * experts, so that a token's experts of one layer sit on as few peers as possible. A peer that held a layer in `previous`
 * keeps it while that is within its fair share, so that a join or leave moves little.
 *
 * Pure: the same arguments give the same plan.
 */
export function planPlacement(
  model: PlacementModel,
  peers: readonly PlacementPeer[],
  options: { replicas: number; previous?: PlacementPlan },
): PlacementPlan {
  const bins = makeBins(model, peers, options.replicas, options.previous);
  // [layers × experts] donors that hold the expert already
  const donors: Set<string>[] = Array.from({ length: model.layers.length * model.expertsPerLayer }, () => new Set());
  for (let replica = 0; replica < options.replicas; replica++) {
    for (let layerIndex = 0; layerIndex < model.layers.length; layerIndex++)
      placeLayer(model, bins, donors, layerIndex);
  }
  return {
    epoch: (options.previous?.epoch ?? 0) + 1,
    held: new Map(bins.map((bin) => [bin.peer.peerId, [...bin.held].sort((a, b) => a - b)])),
  };
}

function makeBins(
  model: PlacementModel,
  peers: readonly PlacementPeer[],
  replicas: number,
  previous: PlacementPlan | undefined,
): Bin[] {
  const capacities = peers.map((peer) =>
    Math.min(
      capacityInExperts(peer.pledgeBytes, model.shardBytes),
      model.layers.length * Math.min(peer.maxExpertsPerLayer, model.expertsPerLayer),
    ),
  );
  const total = capacities.reduce((sum, capacity) => sum + capacity, 0);
  const wanted = Math.min(total, replicas * model.layers.length * model.expertsPerLayer);
  return peers.map((peer, i) => {
    const capacity = capacities[i]!;
    const share = total === 0 ? 0 : (wanted * capacity) / total;
    return {
      peer,
      capacity,
      fairShare: Math.ceil(share / model.expertsPerLayer) * model.expertsPerLayer,
      held: new Set(),
      perLayer: new Int32Array(model.layers.length),
      before: new Set(previous?.held.get(peer.peerId) ?? []),
    };
  });
}

/** One more replica of each expert of a layer: as one piece if some peer has room, else by groups, else one by one. */
function placeLayer(model: PlacementModel, bins: Bin[], donors: Set<string>[], layerIndex: number): void {
  const { expertsPerLayer, groupsPerLayer } = model;
  const first = layerIndex * expertsPerLayer;
  const all = Array.from({ length: expertsPerLayer }, (_, expert) => first + expert);
  if (placePiece(bins, donors, layerIndex, all)) return;
  const groupSize = expertsPerLayer / groupsPerLayer;
  for (let group = 0; group < groupsPerLayer; group++) {
    const piece = all.slice(group * groupSize, (group + 1) * groupSize);
    if (placePiece(bins, donors, layerIndex, piece)) continue;
    for (const expert of piece) placePiece(bins, donors, layerIndex, [expert]);
  }
}

function placePiece(bins: Bin[], donors: Set<string>[], layerIndex: number, piece: readonly ExpertIndex[]): boolean {
  let best: Bin | undefined;
  for (const bin of bins) {
    if (fits(bin, donors, layerIndex, piece) && (best === undefined || isBetter(bin, best, layerIndex, piece)))
      best = bin;
  }
  if (best === undefined) return false;
  for (const expert of piece) {
    best.held.add(expert);
    donors[expert]!.add(best.peer.donorId);
  }
  best.perLayer[layerIndex]! += piece.length;
  return true;
}

function fits(bin: Bin, donors: Set<string>[], layerIndex: number, piece: readonly ExpertIndex[]): boolean {
  return (
    bin.held.size + piece.length <= bin.capacity &&
    bin.perLayer[layerIndex]! + piece.length <= bin.peer.maxExpertsPerLayer &&
    piece.every((expert) => !donors[expert]!.has(bin.peer.donorId))
  );
}

/** Fewest distinct peers per layer first, then no needless download, then the emptiest; equal ones in the order given. */
function isBetter(a: Bin, b: Bin, layerIndex: number, piece: readonly ExpertIndex[]): boolean {
  const aHere = a.perLayer[layerIndex]! > 0;
  const bHere = b.perLayer[layerIndex]! > 0;
  if (aHere !== bHere) return aHere;
  const aKeeps = keeps(a, piece);
  const bKeeps = keeps(b, piece);
  if (aKeeps !== bKeeps) return aKeeps;
  return a.held.size / a.capacity < b.held.size / b.capacity;
}

function keeps(bin: Bin, piece: readonly ExpertIndex[]): boolean {
  return bin.held.size + piece.length <= bin.fairShare && piece.every((expert) => bin.before.has(expert));
}
