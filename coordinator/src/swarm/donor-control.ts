import type { AdapterShards, Assign, Dismissed, Guest, Signal, Standing } from '@shoal/protocol';

/** What the coordinator sends to a donor's page. */
export interface DonorControl {
  assign(message: Assign): void;
  /** Of tabs that know adapters. */
  adapters?(message: AdapterShards): void;
  standing(message: Standing): void;
  /** Of tabs that serve several coordinators. */
  guest?(message: Guest): void;
  /** A guest's signal. */
  signal?(message: Signal): void;
  /** The last message; the connection is closed after it. */
  dismiss(message: Dismissed): void;
}
