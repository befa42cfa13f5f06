import type { PeerView } from '@shoal/protocol';
import type { SortOrder } from '../table/paging.ts';

export type PeerColumn =
  | 'peerId'
  | 'coordinator'
  | 'state'
  | 'adapter'
  | 'address'
  | 'memory'
  | 'experts'
  | 'rowsPerSecond'
  | 'lapMsP50'
  | 'lapMsP95'
  | 'rttMs'
  | 'lossShare'
  | 'workShare'
  | 'auditShare'
  | 'sinceMs';

export type Order = SortOrder<PeerColumn>;

const keys: Record<PeerColumn, (peer: PeerView) => string | number | null> = {
  peerId: (peer) => peer.peerId,
  coordinator: (peer) => peer.coordinator ?? null,
  state: (peer) => peer.state,
  adapter: (peer) => peer.adapter,
  address: (peer) => peer.address,
  memory: (peer) => peer.allocatedBytes,
  experts: (peer) => peer.experts,
  rowsPerSecond: (peer) => peer.rowsPerSecond,
  lapMsP50: (peer) => peer.lapMsP50,
  lapMsP95: (peer) => peer.lapMsP95,
  rttMs: (peer) => peer.rttMs,
  lossShare: (peer) => peer.lossShare,
  workShare: (peer) => peer.workShare,
  auditShare: (peer) => peer.trust.auditShare,
  sinceMs: (peer) => peer.sinceMs,
};

/** Sorts unknown values last in either direction, and ties by id so that rows don't jump around each second. */
export function sortPeers(peers: readonly PeerView[], order: Order): PeerView[] {
  const key = keys[order.column];
  const sign = order.direction === 'ascending' ? 1 : -1;
  return [...peers].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === null || y === null) return x === y ? byId(a, b) : x === null ? 1 : -1;
    return sign * compare(x, y) || byId(a, b);
  });
}

function compare(x: string | number, y: string | number): number {
  if (typeof x === 'number' && typeof y === 'number') return x - y;
  return String(x).localeCompare(String(y), 'en', { numeric: true });
}

const byId = (a: PeerView, b: PeerView): number => compare(a.peerId, b.peerId);
