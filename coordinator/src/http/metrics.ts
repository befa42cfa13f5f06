import { Counter, Histogram, type Registry } from 'prom-client';

/** From pages, which take a few milliseconds, to streams, which last as long as their answer. */
const SECONDS_BUCKETS = [0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600];

export interface HttpMetrics {
  requestSeconds: Histogram<'route' | 'method' | 'status'>;
  shardDownloads: Counter;
  shardBytes: Counter;
  hangUps: Counter;
  stalledReaders: Counter;
  pipelineOverflows: Counter;
}

export function registerHttpMetrics(registry: Registry): HttpMetrics {
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
    shardBytes: new Counter({ name: 'shoal_shard_bytes_total', help: 'Bytes of shards sent in full.', registers }),
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
