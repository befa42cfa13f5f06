import type { PeerView } from '@shoal/protocol';
import { describe, expect, it } from 'vitest';
import { sortPeers } from './sort.ts';

const peer = (peerId: string, rest: Partial<PeerView> = {}): PeerView => ({
  peerId,
  state: 'working',
  adapter: 'a',
  donor: 'a1b2c3',
  address: '127.0.0.1',
  pledgeBytes: 1,
  allocatedBytes: 1,
  experts: 1,
  layers: [],
  rows: 0,
  rowsPerSecond: 0,
  workShare: 0,
  lapMsP50: null,
  lapMsP95: null,
  rttMs: null,
  lossShare: 0,
  bytesSent: 0,
  bytesReceived: 0,
  loadedShare: 1,
  sinceMs: 0,
  trust: { phase: 'trusted', auditShare: 0.02, auditedRows: 0, failures: 0, verifiedRows: 0 },
  lapHistoryMs: [],
  ...rest,
});
const ids = (peers: PeerView[]) => peers.map((p) => p.peerId);

describe('sorting peers', () => {
  it('counts numbers within words', () => {
    const peers = [peer('tab 10'), peer('tab 2')];
    expect(ids(sortPeers(peers, { column: 'peerId', direction: 'ascending' }))).toEqual(['tab 2', 'tab 10']);
    expect(ids(peers)).toEqual(['tab 10', 'tab 2']);
  });
  it('puts what is not known last, either way round', () => {
    const peers = [peer('a'), peer('b', { lapMsP50: 4 }), peer('c', { lapMsP50: 2 }), peer('d')];
    expect(ids(sortPeers(peers, { column: 'lapMsP50', direction: 'ascending' }))).toEqual(['c', 'b', 'a', 'd']);
    expect(ids(sortPeers(peers, { column: 'lapMsP50', direction: 'descending' }))).toEqual(['b', 'c', 'a', 'd']);
  });
  it('keeps equals in the order of their ids', () => {
    const peers = [peer('c'), peer('a'), peer('b')];
    expect(ids(sortPeers(peers, { column: 'rowsPerSecond', direction: 'descending' }))).toEqual(['a', 'b', 'c']);
  });
});
