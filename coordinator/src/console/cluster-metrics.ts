import type { Registry } from 'prom-client';
import type { DatabaseCluster } from '../cluster/database-cluster.ts';
import { type Metrics, registerAll, registerByLabel } from './metrics.ts';

const CLUSTER: Metrics<DatabaseCluster> = {
  shoal_cluster_members: [
    'Coordinators that serve the same model from the same database, this one included.',
    ({ members }) => members.alive().length,
  ],
  shoal_cluster_leader: [
    'Whether this coordinator leads the placement of all tabs: 1 or 0.',
    ({ lease }) => Number(lease.held !== undefined),
  ],
  shoal_cluster_cut: [
    'Whether this coordinator cannot reach the database: 1 or 0.',
    ({ members }) => Number(members.isCut),
  ],
  shoal_cluster_leader_changes_total: [
    'Changes of the leader, as seen by this coordinator.',
    ({ lease }) => lease.changes,
  ],
  shoal_cluster_messages_lost_total: [
    'Messages between coordinators that could not be sent, or that were sent to this one and did not come.',
    ({ bus }) => bus.counts.lost,
  ],
  shoal_cluster_heartbeat_seconds: [
    'Time of the last heartbeat in the database, there and back.',
    ({ members }) => members.roundTripMs / 1000,
  ],
};

/** Registers the metrics of coordinators that share a database. */
export function registerClusterMetrics(registry: Registry, cluster: DatabaseCluster): void {
  registerAll(registry, CLUSTER, cluster);
  const { counts } = cluster.bus;
  registerByLabel(registry, 'shoal_cluster_messages_total', [
    'Messages between coordinators.',
    'direction',
    () => ({ sent: counts.sent, received: counts.received }),
  ]);
  registerByLabel(registry, 'shoal_cluster_message_bytes_total', [
    'Bytes of messages between coordinators.',
    'direction',
    () => ({ sent: counts.sentBytes, received: counts.receivedBytes }),
  ]);
}
