import { Counter, Histogram, type Registry } from 'prom-client';

/** From pages, which take a few milliseconds, to streams, which last as long as their answer. */
const SECONDS_BUCKETS = [0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600];

export interface HttpMetrics {
  requestSeconds: Histogram<'route' | 'method' | 'status'>;
  shardDownloads: Counter;
  shardBytes: Counter<'source'>;
  hangUps: Counter;
  stalledReaders: Counter;
  pipelineOverflows: Counter;
}

/** @param tabBytes of shards that tabs say they have fetched elsewhere, so far */
export function registerHttpMetrics(
  registry: Registry,
  tabBytes: () => Record<'mirror' | 'tab', number> = () => ({ mirror: 0, tab: 0 }),
): HttpMetrics {
  const registers = [registry];
  return {
    requestSeconds: new Histogram({
      name: 'shoal_http_request_seconds',
      help: 'Time from a request to the end of its answer, by route pattern.',
      labelNames: ['route', 'method', 'status'],
      buckets: SECONDS_BUCKETS,
      registers,
    }),
    shardDownloads: new Counter({ name: 'shoal_shard_downloads_total', help: 'Shards sent in full.', registers }),
    shardBytes: shardBytesCounter(registers, tabBytes),
    hangUps: new Counter({
      name: 'shoal_http_hangups_total',
      help: 'Generations whose client closed the connection early.',
      registers,
    }),
    stalledReaders: new Counter({
      name: 'shoal_http_stalled_readers_total',
      help: 'Streams ended because their reader left a full buffer unread.',
      registers,
    }),
    pipelineOverflows: new Counter({
      name: 'shoal_http_pipeline_overflows_total',
      help: 'Connections closed because too many pipelined requests waited on them, or one with a long body.',
      registers,
    }),
  };
}

function shardBytesCounter(registers: Registry[], tabBytes: () => Record<'mirror' | 'tab', number>): Counter<'source'> {
  const counted = { mirror: 0, tab: 0 };
  const counter = new Counter({
    name: 'shoal_shard_bytes_total',
    help: 'Bytes of shards, by where tabs got them: from this coordinator, or, as tabs say, from a mirror or another tab.',
    labelNames: ['source'],
    registers,
    collect() {
      const now = tabBytes();
      for (const source of ['mirror', 'tab'] as const) {
        this.inc({ source }, now[source] - counted[source]);
        counted[source] = now[source];
      }
    },
  });
  counter.inc({ source: 'coordinator' }, 0);
  return counter;
}
