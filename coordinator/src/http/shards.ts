import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { ApiError } from './errors.ts';
import type { HttpMetrics } from './metrics.ts';

const SHA256_HEX = /^[0-9a-f]{64}$/;

/** Serves shards by SHA-256, so any cache may keep them. The file's path comes from the manifest, never from the URL. */
export function registerShards(
  app: FastifyInstance,
  { shard, access }: Pick<HttpDeps, 'shard' | 'access'>,
  metrics: HttpMetrics,
): void {
  app.get<{ Params: { sha256: string } }>('/shards/:sha256', async (request, reply) => {
    const { sha256 } = request.params;
    const entry = SHA256_HEX.test(sha256) ? shard(sha256) : undefined;
    if (!entry) {
      throw new ApiError(404, 'No shard of the served model has this SHA-256.', {
        param: 'sha256',
        code: 'shard_not_found',
      });
    }
    reply
      .header('cache-control', 'public, max-age=31536000, immutable')
      .header('etag', `"${sha256}"`)
      .type('application/octet-stream');
    if (request.headers['if-none-match']?.includes(`"${sha256}"`)) return reply.code(304).send();
    reply.header('content-length', entry.bytes);
    // An empty stream, so that Fastify keeps the length above.
    if (request.method === 'HEAD') return reply.send(Readable.from([]));

    const waitMs = access?.takeShardBytes(request.raw, entry.bytes) ?? 0;
    if (waitMs > 0) {
      const message = 'Your network address has used its allowance of weights. Retry after the time in Retry-After.';
      throw ApiError.rateLimited(message, Math.ceil(waitMs / 1000));
    }
    reply.raw.once('finish', () => {
      // The file could not be read.
      if (reply.raw.statusCode !== 200) return;
      metrics.shardDownloads.inc();
      metrics.shardBytes.inc(entry.bytes);
    });
    if ('contents' in entry) return reply.send(Buffer.from(entry.contents().buffer));
    // The file is closed when the response closes, even while it is being opened.
    return reply.send(createReadStream(entry.path, { end: entry.bytes - 1 }));
  });
}
