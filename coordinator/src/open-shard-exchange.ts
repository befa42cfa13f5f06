import type { Registry } from 'prom-client';
import type { Config } from './config.ts';
import { registerMeetingMetrics } from './console/meeting-metrics.ts';
import type { Core } from './core.ts';
import type { DonorGatewayOptions } from './swarm/donor-gateway.ts';
import { ShardReports } from './swarm/shard-reports.ts';
import { TabMeetings } from './swarm/tab-meetings.ts';

/** What the donors' gateway needs where tabs get shards from elsewhere: mirrors, and each other (`--tab-to-tab`). */
export function openShardExchange(
  { packed: { manifest }, events }: Core,
  { shardUrls, tabToTab, iceServers }: Config,
  registry: Registry,
): Pick<DonorGatewayOptions, 'shardReports' | 'meetings'> {
  const shardReports = new ShardReports({ events, mirrorNames: shardUrls.map(({ origin }) => origin) });
  if (!tabToTab) return { shardReports, meetings: undefined };
  const shards = manifest.expertLayers.flatMap((layer) => manifest.shards[layer]!);
  const meetings = new TabMeetings({ shards, shardBytes: manifest.shardBytes, iceServers, events });
  registerMeetingMetrics(registry, meetings);
  return { shardReports, meetings };
}
