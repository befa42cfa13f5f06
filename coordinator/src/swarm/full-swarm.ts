import { networksOf } from '../base/address.ts';
import type { PeerSession } from './peer-session.ts';

/** Within this time an honest tab is connected, and given experts if it is needed. */
const GRACE_MS = 10_000;

/**
 * The tab that makes room for a newcomer in a full swarm: one that is of no use yet, of the network with most of those. None
 * unless that network has more of them than the newcomer's own would have: otherwise two newcomers would take turns.
 */
export function tabToReplace(peers: readonly PeerSession[], address: string, nowMs: number): PeerSession | undefined {
  const idle = peers.filter(isIdle);
  const perNetwork = new Map<string, number>();
  for (const peer of idle) {
    for (const { key, share } of networksOf(peer.address)) perNetwork.set(key, (perNetwork.get(key) ?? 0) + 1 / share);
  }
  const crowd = (from: string): number => Math.max(...networksOf(from).map(({ key }) => perNetwork.get(key) ?? 0));
  const old = idle.filter((peer) => nowMs - peer.joinedMs >= GRACE_MS && crowd(peer.address) > crowd(address) + 1);
  const rank = (peer: PeerSession): number => 2 * crowd(peer.address) + Number(!peer.connected);
  return old.reduce<PeerSession | undefined>((a, b) => (a && rank(a) >= rank(b) ? a : b), undefined);
}

/** Not connected, or without experts and never proven, or not getting on with loading them. */
function isIdle(peer: PeerSession): boolean {
  if (peer.hasServed) return false;
  if (!peer.connected) return true;
  return peer.assigned.size === 0 ? peer.trust.record.verifiedRows === 0 : peer.doubtful;
}
