import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { integer, path, SIZE, SWITCH, text, type ValueKind } from '../base/option-values.ts';
import { option, type OptionValues } from '../base/options.ts';
import { parseShardUrl, type ShardUrl, urlOfShard } from '../base/shard-url.ts';
import { UsageError } from '../base/usage-error.ts';
import { ROOT_DIR } from '../config.ts';
import { DiskCache } from '../mirror/disk-cache.ts';
import { MirrorServer } from '../mirror/mirror-server.ts';
import { type MirrorFigures, ShardMirror } from '../mirror/shard-mirror.ts';
import { command, type CommandIo } from './command.ts';
import { formatBytes } from './progress.ts';
import { StopSignals } from './stop-signals.ts';

/** Upstream may be a slow line, but not a silent one. */
const STALL_MS = 20_000;
const REPORT_INTERVAL_MS = 10_000;

/** A coordinator, named by its address alone, has them under /shards. */
const UPSTREAM: ValueKind<ShardUrl> = {
  value: 'URL',
  parse: (given) => {
    const hasPath = !/^https?:\/\/[^/?#]+\/?$/.test(given);
    const upstream = parseShardUrl(hasPath ? given : `${given.replace(/\/$/, '')}/shards`);
    if (upstream.s3Region === undefined) return upstream;
    throw new UsageError('takes no s3:…; mirror the coordinator, or a public bucket');
  },
};

const OPTIONS = {
  from: option('from', UPSTREAM, {
    required: true,
    help: 'where shards come from: a coordinator’s address, or a URL as --shard-url of serve takes it',
  }),
  host: option('host', text('ADDRESS'), { default: '0.0.0.0', help: 'address to listen on' }),
  port: option('port', integer(0, 65_535), { default: '8788', help: 'port to listen on, 0 for a free one' }),
  cacheDir: option('cache', path('DIR'), {
    default: join(ROOT_DIR, '.cache/mirror'),
    defaultText: '.cache/mirror',
    help: 'directory that keeps shards',
  }),
  cacheBytes: option('cache-size', SIZE, {
    default: '20GiB',
    help: 'most that it may hold; the least recently used make room',
  }),
  bytesPerHour: option('bytes-per-hour', SIZE, {
    defaultText: 'no limit',
    help: 'most that one address is sent in an hour',
  }),
  tlsCert: option('tls-cert', path('FILE'), {
    defaultText: 'none',
    help: 'certificate (PEM), for pages that come by https',
  }),
  tlsKey: option('tls-key', path('FILE'), { defaultText: 'none', help: 'its key (PEM)' }),
  trustProxy: option('trust-proxy', SWITCH, {
    help: 'take client addresses from the proxy in front (the last of X-Forwarded-For)',
  }),
};

type MirrorOptions = OptionValues<typeof OPTIONS>;

export const runMirror = command({
  name: 'mirror',
  usage: ['--from URL [options]'],
  about: `
A cache of shards in front of a coordinator or another host, for the tabs of one network: each shard crosses the line once. Give its
address to the coordinator as --shard-url http://THIS-MACHINE:8788/shards. Ctrl-C stops it; what it has is kept.`,
  options: OPTIONS,
  run: mirror,
});

async function mirror(options: MirrorOptions, io: CommandIo): Promise<void> {
  const tls = await readTls(options);
  const stop = new StopSignals();
  try {
    const cache = await DiskCache.open(options.cacheDir, options.cacheBytes);
    const mirror = new ShardMirror({
      cache,
      urlOf: (sha256) => urlOfShard(options.from, sha256),
      fetch,
      stallMs: STALL_MS,
    });
    const server = new MirrorServer({ mirror, cache, ...options, tls });
    const port = await server.listen(options.host, options.port);
    const scheme = tls ? 'https' : 'http';
    io.stdout.write(
      `Mirroring ${options.from.origin} at ${scheme}://${options.host}:${port}/shards (${cache.shards} shards, ` +
        `${formatBytes(cache.bytes)} of ${formatBytes(options.cacheBytes)} kept)\n`,
    );
    const stopReporting = report(mirror.figures, cache, io);
    await stop.received();
    stopReporting();
    await server.close();
    await mirror.close();
    io.stdout.write(`Stopped. ${figuresText(mirror.figures, cache)}\n`);
  } finally {
    stop.close();
  }
}

async function readTls({ tlsCert, tlsKey }: MirrorOptions): Promise<{ cert: Buffer; key: Buffer } | undefined> {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined)
    throw new UsageError('--tls-cert and --tls-key are given together');
  return { cert: await readFile(tlsCert), key: await readFile(tlsKey) };
}

/** A line every few seconds in which something was asked for. */
function report(figures: MirrorFigures, cache: DiskCache, io: CommandIo): () => void {
  let told = 0;
  const timer = setInterval(() => {
    const asked = figures.hits + figures.misses;
    if (asked === told) return;
    told = asked;
    io.stderr.write(`${figuresText(figures, cache)}\n`);
  }, REPORT_INTERVAL_MS);
  return () => clearInterval(timer);
}

function figuresText(figures: MirrorFigures, cache: DiskCache): string {
  const { hits, misses, servedBytes, fetchedShards, fetchedBytes, upstreamErrors, notKept, damaged } = figures;
  const share = hits + misses === 0 ? 0 : Math.round((100 * hits) / (hits + misses));
  const troubles = [
    upstreamErrors > 0 && `${upstreamErrors} upstream errors`,
    notKept > 0 && `${notKept} without room on the disk`,
    damaged > 0 && `${damaged} damaged files removed`,
  ].filter(Boolean);
  const kept = `${cache.shards} kept (${formatBytes(cache.bytes)})`;
  const line = `served ${formatBytes(servedBytes)} (${share} % of requests from the disk), fetched ${fetchedShards} shards (${formatBytes(fetchedBytes)}), ${kept}`;
  return [line, ...troubles].join(', ');
}
