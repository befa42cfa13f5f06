import { EventEmitter } from 'node:events';
import type { BusEvents, Cluster, LeaseEvents, MembersEvents, MemberView } from './cluster.ts';

/**
 * The cluster of a coordinator that can have no companions, since it keeps nothing or has an embedded database of its own: it
 * always leads and says nothing. `term` is the number of its start, so that plans of earlier ones are stale.
 */
export function soleCluster(key: string, self: MemberView, term: number): Cluster {
  return {
    key,
    members: { self, alive: () => [self], isCut: false, events: new EventEmitter<MembersEvents>() },
    bus: { self: self.id, send() {}, on: () => () => {}, events: new EventEmitter<BusEvents>() },
    lease: { held: { term }, leader: self.id, events: new EventEmitter<LeaseEvents>() },
    close: () => Promise.resolve(),
  };
}
