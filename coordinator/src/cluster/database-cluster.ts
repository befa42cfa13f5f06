import { randomBytes } from 'node:crypto';
import type { Database } from '../database/database.ts';
import { ALL, type Cluster, type MemberView } from './cluster.ts';
import { DatabaseBus } from './database-bus.ts';
import { DatabaseLease } from './database-lease.ts';
import { DatabaseMembers } from './database-members.ts';
import { CLUSTER_TIMES, type ClusterTimes } from './times.ts';

export interface DatabaseCluster extends Cluster {
  readonly members: DatabaseMembers;
  readonly bus: DatabaseBus;
  readonly lease: DatabaseLease;
}

/** `c-` and 8 hex digits. */
export const newMemberId = (): string => `c-${randomBytes(4).toString('hex')}`;

/** Joins the cluster of this key. Resolves once registered, or at once if the database is away. */
export async function joinCluster(
  database: Database,
  key: string,
  self: Omit<MemberView, 'sinceMs'>,
  times: ClusterTimes = CLUSTER_TIMES,
): Promise<DatabaseCluster> {
  const look = (what: 'members' | 'lease'): void => bus.send(ALL, 'look', { what });
  const members = new DatabaseMembers({ database, key, self, times, onChanged: () => look('members') });
  const hasOthers = (): boolean => members.alive().length > 1;
  const bus = new DatabaseBus({ database, key, self: self.id, hasOthers });
  const placement = { name: 'placement', onReleased: () => look('lease') };
  const lease = new DatabaseLease({ ...placement, database, key, self: self.id, times });
  bus.on('look', (_, { what }) => {
    if (what === 'members') members.look();
    if (what === 'lease') lease.look();
  });
  members.events.on('left', ({ id }) => {
    bus.forget(id);
    if (id === lease.leader) lease.look();
  });
  await bus.start();
  await members.start();
  await lease.start();
  return {
    key,
    members,
    bus,
    lease,
    async close() {
      await lease.close();
      await members.close();
      await bus.close();
    },
  };
}
