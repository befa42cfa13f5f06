import { EventEmitter } from 'node:events';
import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import type { BusEvents, Cluster, LeaseEvents, MembersEvents, MemberView } from './cluster.ts';

/** Nobody else can take it. */
const FOREVER = sql<Date>`'infinity'::timestamptz`;

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

/** The next term of the lease `placement`, which the only user of a database holds as long as it runs. */
export async function takeTerm({ db }: Pick<Database, 'db'>, key: string, holder: string): Promise<number> {
  const row = await db
    .insertInto('leases')
    .values({ cluster: key, name: 'placement', holder, term: 1, expires_at: FOREVER })
    .onConflict((conflict) =>
      conflict
        .columns(['cluster', 'name'])
        .doUpdateSet({ holder, term: sql<number>`leases.term + 1`, expires_at: FOREVER }),
    )
    .returning('term')
    .executeTakeFirstOrThrow();
  return row.term;
}
