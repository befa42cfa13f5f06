import { networksOf } from '../base/address.ts';
import type { PeerSession } from './peer-session.ts';

/** Within this time an honest tab is connected, and given experts if it is needed. */
const GRACE_MS = 10_000;

/**
 * The tab that makes room for a newcomer in a full swarm: one that has not served anything, of the network that has most of
 * those. Undefined if there is none, or if that network has no more of them than the newcomer's own: then one unknown tab is as
 * good as another.
 */
export function tabToReplace(peers: readonly PeerSession[], address: string, nowMs: number): PeerSession | undefined {
  const unproven = peers.filter((peer) => !peer.hasServed);
  const perNetwork = new Map<string, number>();
  for (const peer of unproven) {
    for (const { key, share } of networksOf(peer.address)) perNetwork.set(key, (perNetwork.get(key) ?? 0) + 1 / share);
  }
  const crowd = (from: string): number => Math.max(...networksOf(from).map(({ key }) => perNetwork.get(key) ?? 0));
  let chosen: PeerSession | undefined;
  let most = crowd(address);
  for (const peer of unproven) {
    if (nowMs - peer.joinedMs < GRACE_MS || crowd(peer.address) <= most) continue;
    chosen = peer;
    most = crowd(peer.address);
  }
  return chosen;
}
