/** How soon members notice things, in milliseconds. Tests make all of it shorter. */
export interface ClusterTimes {
  /** Between two heartbeats of a member, and between two renewals of a lease. */
  beatMs: number;
  /** After so long without a heartbeat a member is dead, by the database's clock. */
  deadAfterMs: number;
  /** How long a lease holds without being renewed. */
  leaseMs: number;
  /** A leader stops leading so much before its lease ends, by its own clock. */
  leaseMarginMs: number;
  /** After another's lease has ended, members try within this time, each at another moment. */
  jitterMs: number;
}

export const CLUSTER_TIMES: ClusterTimes = {
  beatMs: 1_000,
  deadAfterMs: 3_500,
  leaseMs: 3_000,
  leaseMarginMs: 250,
  jitterMs: 300,
};

/** A query of the cluster that takes longer counts as failed. */
export const QUERY_DEADLINE_MS = 2_000;
