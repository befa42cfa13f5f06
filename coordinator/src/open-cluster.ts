import { hostname, networkInterfaces } from 'node:os';
import type { NewBucket } from './base/bucket.ts';
import { steadyUnixMs } from './base/clock.ts';
import type { EventLog } from './base/event-log.ts';
import type { Cluster, MemberView } from './cluster/cluster.ts';
import { joinCluster, newMemberId, type DatabaseCluster } from './cluster/database-cluster.ts';
import { DatabaseQuotas } from './cluster/quota-store.ts';
import { SharedQuotas } from './cluster/shared-quotas.ts';
import { soleCluster, takeTerm } from './cluster/sole-cluster.ts';
import { ToldAnswers, ToldTabs } from './cluster/told-tabs.ts';
import type { Database } from './database/index.ts';

/** Buckets that are full again are deleted so often. */
const TIDY_MS = 600_000;

/** What coordinators that share a database have together. Of one that has none, only `cluster` is there. */
export interface JoinedCluster {
  cluster: Cluster;
  /** Undefined where there can be no others. */
  shared: SharedParts | undefined;
  close(): Promise<void>;
}

export interface SharedParts {
  database: Database;
  cluster: DatabaseCluster;
  quotas: SharedQuotas;
  newBucket: NewBucket;
  tabs: ToldTabs;
  answers: ToldAnswers;
}

export interface ClusterOptions {
  database: Database | undefined;
  /** Whether other coordinators may use the same embedded database, as in tests. */
  isShared: boolean;
  /** Of the packed model. */
  modelDigest: string;
  quant: string;
  version: string;
  port: number;
  events: EventLog;
}

/** Joins the coordinators that serve the same model from the same database. */
export async function openCluster(options: ClusterOptions): Promise<JoinedCluster> {
  const { database, isShared, modelDigest, quant, events } = options;
  const key = `${modelDigest.slice(0, 16)}-${quant}`;
  const self = memberOf(options);
  if (!database || (database.kind === 'embedded' && !isShared)) {
    const term = database ? await takeTerm(database, key, self.id) : 1;
    const cluster = soleCluster(key, { ...self, sinceMs: steadyUnixMs() }, term);
    return { cluster, shared: undefined, close: () => Promise.resolve() };
  }
  const cluster = await joinCluster(database, key, self);
  const store = new DatabaseQuotas(database);
  const quotas = new SharedQuotas(cluster.members, store);
  const tidy = setInterval(() => {
    if (cluster.lease.held && !cluster.members.isCut) store.tidy().catch(() => {});
  }, TIDY_MS).unref();
  report(cluster, events);
  const told = { tabs: new ToldTabs(cluster), answers: new ToldAnswers(cluster) };
  return {
    cluster,
    shared: { database, cluster, quotas, newBucket: quotas.bucket, ...told },
    async close() {
      clearInterval(tidy);
      await quotas.close();
      await cluster.close();
    },
  };
}

/** Tells the event log who comes and goes, who leads, and when the database is gone. */
function report({ members, lease, bus }: DatabaseCluster, events: EventLog): void {
  const nameOf = (id: string): string => members.alive().find((member) => member.id === id)?.name ?? id;
  const tell = (level: 'info' | 'warning', text: string): void => events.add({ level, kind: 'server', text });
  members.events.on('joined', ({ name }) => tell('info', `The coordinator ${name} is there`));
  members.events.on('left', ({ name }) => tell('warning', `The coordinator ${name} is gone`));
  members.events.on('cut', () =>
    tell(
      'warning',
      'The database cannot be reached: answers go on, with what was last known of the other coordinators',
    ),
  );
  members.events.on('mended', () => tell('info', 'The database is reached again'));
  lease.events.on('leader', (leader) => {
    if (leader === undefined) return;
    if (leader === bus.self) tell('info', 'This coordinator now leads the placement of all tabs');
    else tell('info', `The coordinator ${nameOf(leader)} now leads the placement of all tabs`);
  });
}

function memberOf({ version, port }: ClusterOptions): Omit<MemberView, 'sinceMs'> {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  const reachable = addresses.find(({ internal, family }) => !internal && family === 'IPv4');
  return {
    id: newMemberId(),
    name: `${hostname()}:${port}`,
    address: `${reachable?.address ?? '127.0.0.1'}:${port}`,
    version,
  };
}
