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

/** What placement has to know of a peer. What was never measured is left out, and counts as the median of the others. */
export interface PlacementPeer {
  peerId: string;
  /** Who lends it; two replicas of an expert are never on one donor. */
  donorId: string;
  pledgeBytes: number;
  /** How many experts of one layer its GPU can bind at once. */
  maxExpertsPerLayer: number;
  /** (row, expert) pairs a second that it was seen to compute. */
  rowsPerSecond?: number;
  rttMs?: number;
  /** From 0, nothing that it did was verified yet, to 1. */
  trust?: number;
}

export interface PlacementPlan {
  epoch: number;
  /** What each peer is to hold, ascending. Every peer that was asked about has an entry. */
  held: ReadonlyMap<string, readonly ExpertIndex[]>;
}

export interface PlacementOptions {
  /** Copies of each expert on distinct donors, where memory and donors allow: every expert once before any twice. */
  replicas: number;
  /** Where more memory is left than `replicas` takes, the experts with the highest load per replica get up to this many. */
  maxReplicas?: number;
  previous?: PlacementPlan;
  /** [layers × expertsPerLayer] rows of late (`LoadMeter`); without it all experts count as equally busy. */
  load?: ArrayLike<number>;
  /**
   * Bytes that may be moved for fewer peers or better balance. Copies that are missing are always planned, whatever they
   * take: a replica too few is a risk, a replica in a poor place is not.
   */
  maxMoveBytes?: number;
  /** Plan with what peers hold already and nothing else: no copy that is missing, no move. */
  keepOnly?: boolean;
}

/** A plan, and what it takes to get there. */
export interface PlacementResult extends PlacementPlan {
  /** Bytes of experts that peers are to fetch for it. */
  fetchedBytes: number;
  /** Of these, for fewer peers or better balance only: at most `maxMoveBytes`. */
  movedBytes: number;
  /** A better place is known for some experts, but the bytes did not suffice: planning again goes on with it. */
  deferred: boolean;
}
