import type { Core } from '../../coordinator/src/index.ts';
import type { PeerSession } from '../../coordinator/src/swarm/peer-session.ts';
import type { KnownLiar } from './crowd.ts';
import type { Victim } from './victims.ts';

/** How a liar's visit ended, and what it had done by then. */
export interface LiarFate {
  lie: string;
  begins: string;
  caughtBy: 'self-test' | 'probation' | 'frame' | 'audit' | 'nobody';
  /** Rows whose answers were taken (a row of one layer each). */
  usedRows: number;
  /** Of those, rows that are in a sum: if a tab is caught earlier, its answer is recomputed. */
  rowsInSums: number;
}

/**
 * Checks every row of every layer when it is summed: which peers took part and how far they were trusted. Exact, since
 * the dispatcher emits its trace in the same turn in which it sums.
 */
export class SumWatch {
  /** Parts of sums whose peer was in probation or quarantine at the time, as text; there must be none. */
  readonly violations: string[] = [];
  /** By peer id. */
  readonly rowsInSums = new Map<string, number>();

  attach(core: Core): void {
    const { dispatcher, swarm } = core;
    const batch = dispatcher.batch.bind(dispatcher);
    const sessions = new Map<string, PeerSession>();
    dispatcher.batch = (options = {}) =>
      batch({
        ...options,
        trace: (row, trace) => {
          const peers = new Set(trace.experts.flatMap(({ peerId }) => peerId ?? []));
          for (const peer of swarm.peers) sessions.set(peer.peerId, peer);
          for (const peerId of peers) this.#check(peerId, sessions.get(peerId), trace.layer);
          options.trace?.(row, trace);
        },
      });
  }

  #check(peerId: string, session: PeerSession | undefined, layer: number): void {
    this.rowsInSums.set(peerId, (this.rowsInSums.get(peerId) ?? 0) + 1);
    const phase = session?.trust.phase ?? 'trusted';
    if (phase !== 'trusted') this.violations.push(`${peerId} (${phase}) in a sum of layer ${layer}`);
  }

  fateOf({ lie, begins, victim }: KnownLiar): LiarFate {
    const session = victim.session();
    const rowsInSums = session ? (this.rowsInSums.get(session.peerId) ?? 0) : 0;
    return { lie, begins, caughtBy: caughtBy(session), usedRows: session?.trust.usedRows ?? 0, rowsInSums };
  }
}

function caughtBy(session: PeerSession | undefined): LiarFate['caughtBy'] {
  if (session?.state !== 'gone') return 'nobody';
  const { phase, failures, usedRows } = session.trust;
  if (phase === 'quarantined') return usedRows > 0 ? 'audit' : 'probation';
  if (session.verifiedShare !== null && session.verifiedShare < 1) return 'self-test';
  return failures === 0 ? 'frame' : 'audit';
}

interface Suspect {
  victim: Victim;
  rowsBefore: number;
  /** Set when it is no longer suspect. */
  rowsAtEnd?: number;
}

/** Tabs whose results may be wrong: liars during their visit, others for a while. */
export class Suspects {
  readonly #entries: Suspect[] = [];

  add(victim: Victim, forMs?: number): void {
    const entry: Suspect = { victim, rowsBefore: usedRows(victim) };
    this.#entries.push(entry);
    if (forMs !== undefined) setTimeout(() => (entry.rowsAtEnd = usedRows(victim)), forMs).unref();
  }

  /** Rows accepted from these tabs so far while they were suspect. */
  get usedRows(): number {
    return this.#entries.reduce(
      (sum, { victim, rowsBefore, rowsAtEnd }) => sum + (rowsAtEnd ?? usedRows(victim)) - rowsBefore,
      0,
    );
  }

  /** Whether one of these is suspect now. */
  haveOneOf(peerIds: readonly (string | null)[]): boolean {
    const now = this.#entries.filter(({ rowsAtEnd }) => rowsAtEnd === undefined);
    return now.some(({ victim }) => peerIds.includes(victim.session()?.peerId ?? ''));
  }
}

function usedRows(victim: Victim): number {
  return victim.session()?.trust.usedRows ?? 0;
}
