import type { ExpertIndex, PlacementPeer } from '@shoal/placement';
import type { PeerState } from '@shoal/protocol';
import type { Migrant } from './migration.ts';
import { isStopped } from './peer-state.ts';

/** A tab that the plan may give experts: an own one, or a remote one that this coordinator guides as the leader. */
export interface PlannedTab extends Migrant {
  readonly peerId: string;
  /** The experts that the newest plan gives it. */
  target: Set<ExpertIndex>;
  readonly takesPart: boolean;
  /** It has been loading for so long that others should load as well what nobody serves. */
  readonly doubtful: boolean;
  /** With measurements. Speed and trust are rounded to coarse steps, so that small fluctuations don't change the plan. */
  readonly measured: PlacementPeer;
}

/** Steps of trust as the audited share falls: new, half known, known. */
const TRUST_STEPS = 2;

/** Paused, resting and draining peers keep what they have, but the plan does not count on them. `retires`: they rest soon. */
export function takesPart({ connected, state, retires }: { connected: boolean; state: PeerState; retires: boolean }) {
  return connected && !isStopped(state) && !retires && state !== 'draining' && state !== 'gone';
}

export function placementTrust(auditShare: number): number {
  return Math.round((1 - auditShare) * TRUST_STEPS) / TRUST_STEPS;
}

/** Assignments per second, to the nearest power of two. */
export function speedStep(assignmentsPerSecond: number | undefined): number | undefined {
  return assignmentsPerSecond === undefined ? undefined : 2 ** Math.round(Math.log2(assignmentsPerSecond));
}
