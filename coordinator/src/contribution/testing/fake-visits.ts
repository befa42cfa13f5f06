import { EventEmitter } from 'node:events';
import type { PeerSession } from '../../swarm/peer-session.ts';
import type { Swarm } from '../../swarm/swarm.ts';
import type { TrustPhase } from '../../trust/peer-trust.ts';

/** As much of a visit as credit needs. */
export interface FakeVisit extends Pick<PeerSession, 'donorId' | 'tokenId' | 'tokensHelped' | 'tokensForGuests'> {
  serving: boolean;
  busySeconds: number;
  contribution: PeerSession['contribution'];
  trust: {
    phase: TrustPhase;
    auditedRows: number;
    failures: number;
    usedRows: number;
    lastGoodRow: number;
    record: { consecutiveRight: number; verifiedRows: number };
  };
}

/** As much of a swarm as credit needs. */
export function fakeVisits() {
  const visits: Swarm['visits'] = new EventEmitter();
  const join = (donorId: string, tokenId = donorId): FakeVisit => {
    const record = { consecutiveRight: 0, verifiedRows: 0 };
    const trust = { phase: 'trusted' as const, auditedRows: 0, failures: 0, usedRows: 0, lastGoodRow: 0, record };
    const figures = { tokensHelped: 0, tokensForGuests: 0, busySeconds: 0, serving: true };
    const peer = { donorId, tokenId, donor: { held: new Map() }, ...figures, trust, contribution: () => undefined };
    visits.emit('joined', peer as unknown as PeerSession);
    return peer;
  };
  const leave = (peer: FakeVisit): void => void visits.emit('left', peer as unknown as PeerSession);
  return { visits, join, leave };
}

/** A visit has computed rows for so many tokens, all of which are audited and right. */
export function works(peer: FakeVisit, rows: number, tokens: number): void {
  peer.trust.usedRows += rows;
  peer.trust.lastGoodRow = peer.trust.usedRows;
  peer.trust.auditedRows += rows;
  peer.tokensHelped += tokens;
}
