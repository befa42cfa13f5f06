import type { WorkItem } from '@shoal/model';
import type { LapCost } from './lap-cost.ts';
import type { LapClient } from './lap-client.ts';
import type { LapPeer, Part } from './lap-splitter.ts';

/** When the coordinator computes what a peer is late with. Everybody waits for its processor, so later than a replica would. */
const STAND_IN = {
  /** At the earliest, for a peer on trial and for a known one. */
  leastMs: 250,
  leastKnownMs: 1_000,
  /** For a peer on trial, this many times the time after which it is late. */
  patience: 4,
  /** For any peer, this many times what the coordinator takes itself, and what that is guessed to be before it is known. */
  worth: 2,
  guessMsPerRow: 10,
};

/**
 * How long to wait for a peer on trial before its replicas are asked: as long as it usually takes, in its tests if in nothing
 * else, but no longer than for these; if it is untried, not at all.
 */
export function trialMs(
  { numRows }: WorkItem,
  { laps }: LapPeer,
  trial: LapClient['trial'],
  replacements: readonly Part[],
): number {
  const peers = replacements.flatMap(({ peer }) => peer ?? []);
  if (peers.length < replacements.length) return Number.POSITIVE_INFINITY;
  if (trial === 'untried') return 0;
  return Math.min(laps.hedgeAfterMs(numRows), Math.max(...peers.map((peer) => peer.laps.hedgeAfterMs(numRows))));
}

/**
 * How long to wait for any peer before the coordinator computes as well: a second, or twice what that takes it, so that no
 * peer says how long everybody waits for it. A peer on trial gets less where its usual time is less.
 */
export function standInMs({ numRows, experts }: WorkItem, { laps }: LapPeer, ownCost: LapCost): number {
  const { fixedMs, perAssignmentMs } = ownCost.line();
  const ownMs = fixedMs + perAssignmentMs * experts.length;
  const mostMs = Math.max(STAND_IN.leastKnownMs, STAND_IN.worth * (ownMs || STAND_IN.guessMsPerRow * numRows));
  if (laps.trial === undefined) return mostMs;
  return Math.min(mostMs, Math.max(STAND_IN.leastMs, STAND_IN.patience * laps.hedgeAfterMs(numRows)));
}
