import { createReadStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { ApiError } from './errors.ts';
import type { HttpMetrics } from './metrics.ts';

export const SHA256_HEX = /^[0-9a-f]{64}$/;

/** Serves shards by SHA-256, so any cache may keep them. The file's path comes from the manifest, never from the URL. */
export function registerShards(
  app: FastifyInstance,
  { shard, access }: Pick<HttpDeps, 'shard' | 'access'>,
  metrics: HttpMetrics,
): void {
  app.get<{ Params: { sha256: string } }>('/shards/:sha256', async (request, reply) => {
    const { sha256 } = request.params;
    const entry = SHA256_HEX.test(sha256) ? shard(sha256) : undefined;
    if (!entry) throw shardNotFound();
    reply
      .header('cache-control', 'public, max-age=31536000, immutable')
      .header('etag', `"${sha256}"`)
      .type('application/octet-stream');
    if (request.headers['if-none-match']?.includes(`"${sha256}"`)) return reply.code(304).send();
    const from = rangeStart(request.headers.range, entry.bytes);
    reply.header('accept-ranges', 'bytes').header('content-length', entry.bytes - from);
    if (from > 0) reply.code(206).header('content-range', `bytes ${from}-${entry.bytes - 1}/${entry.bytes}`);
    // An empty stream, so that Fastify keeps the length above.
    if (request.method === 'HEAD') return reply.send(Readable.from([]));

    takeAllowance(access, request.raw, entry.bytes - from);
    reply.raw.once('finish', () => {
      // The file could not be read.
      if (![200, 206].includes(reply.raw.statusCode)) return;
      metrics.shardDownloads.inc();
      metrics.shardBytes.inc({ source: 'coordinator' }, entry.bytes - from);
    });
    if ('contents' in entry) return reply.send(Buffer.from(entry.contents().buffer).subarray(from));
    // The file is closed when the response closes, even while it is being opened.
    return reply.send(createReadStream(entry.path, { start: from, end: entry.bytes - 1 }));
  });
}

/** Where a request for the rest of a shard begins, as a mirror sends it after a cut; 0 for any other range, which is not needed. */
export function rangeStart(range: string | undefined, bytes: number): number {
  const from = Number(/^bytes=(\d{1,15})-$/.exec(range ?? '')?.[1] ?? 0);
  return from < bytes ? from : 0;
}

export function shardNotFound(): ApiError {
  const message = 'No shard of the served model has this SHA-256.';
  return new ApiError(404, message, { param: 'sha256', code: 'shard_not_found' });
}

/** Takes a shard's bytes from the client's allowance. Throws an ApiError if there are not enough. */
export function takeAllowance(access: HttpDeps['access'], request: IncomingMessage, bytes: number): void {
  const waitMs = access?.takeShardBytes(request, bytes) ?? 0;
  if (waitMs === 0) return;
  const message = 'Your network address has used its allowance of weights. Retry after the time in Retry-After.';
  throw ApiError.rateLimited(message, Math.ceil(waitMs / 1000));
}
