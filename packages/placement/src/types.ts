/** An expert of the whole model as one number: MoE layer's index × experts per layer + expert. */
export type ExpertIndex = number;

/** What placement needs to know about a model. */
export interface PlacementModel {
  /** Model layer numbers of the MoE layers, ascending. */
  layers: readonly number[];
  expertsPerLayer: number;
  /** Routing groups per layer (`n_group`); 1 if the gate has none. Experts of a group are contiguous. */
  groupsPerLayer: number;
  /** Size of every expert's shard. */
  shardBytes: number;
}

/** What placement needs to know about a peer. Unmeasured values are left out and count as the median of the others. */
export interface PlacementPeer {
  peerId: string;
  /** Two replicas of an expert are never on the same donor. */
  donorId: string;
  pledgeBytes: number;
  /** Experts of one layer that its GPU can bind at once. */
  maxExpertsPerLayer: number;
  /** Measured assignments per second. */
  assignmentsPerSecond?: number;
  rttMs?: number;
  /** Share of the time that it computes, by its donor's limits; 1 by default. */
  share?: number;
  /** 0 (nothing verified yet) to 1. */
  trust?: number;
}

export interface PlacementPlan {
  epoch: number;
  /** Experts that each peer is to hold, ascending. Every given peer has an entry. */
  held: ReadonlyMap<string, readonly ExpertIndex[]>;
}

export interface PlacementOptions {
  /** Replicas of each expert on distinct donors, if memory and donors suffice: every expert once before any twice. */
  replicas: number;
  /** If memory is left after `replicas`, the experts with the highest load per replica get up to this many. */
  maxReplicas?: number;
  previous?: PlacementPlan;
  /**
   * Replicas on tabs that are not among the peers, since others decide about them: they count as placed. Nothing is fetched that
   * they make unnecessary, and no peer gives up for them what it holds.
   */
  elsewhere?: Elsewhere;
  /** [layers × expertsPerLayer] recent rows (`LoadMeter`); without it all experts count as equally busy. */
  load?: ArrayLike<number>;
  /**
   * Bytes that may move to save peers or improve balance. Missing replicas are always planned, at any cost: a missing replica is a
   * risk, one in a poor place is not.
   */
  maxMoveBytes?: number;
  /** Plan only with what peers already hold: add no missing replica, move nothing. */
  keepOnly?: boolean;
}

export interface Elsewhere {
  /** By expert. */
  replicas: ReadonlyMap<ExpertIndex, number>;
  /** How many donors have them. */
  donors: number;
}

/** A plan and its cost. */
export interface PlacementResult extends PlacementPlan {
  /** Bytes that peers must fetch. */
  fetchedBytes: number;
  /** Part of these that only saves peers or improves balance; at most `maxMoveBytes`. */
  movedBytes: number;
  /** Some experts have a better place, but the bytes did not suffice; the next plan continues. */
  deferred: boolean;
}
