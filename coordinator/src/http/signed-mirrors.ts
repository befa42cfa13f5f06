import type { FastifyInstance } from 'fastify';
import { type ShardUrl, urlOfShard } from '../base/shard-url.ts';
import { UsageError } from '../base/usage-error.ts';
import type { HttpDeps, ShardMirrors } from './deps.ts';
import { ApiError } from './errors.ts';
import { presignS3, type S3Credentials } from './s3-presign.ts';
import { SHA256_HEX, shardNotFound, takeAllowance } from './shards.ts';

/** A tab follows at once. Long enough for clocks that differ a little. */
const EXPIRES_S = 300;

/** What tabs are told of the mirrors: of those whose URLs are signed, a path of ours that redirects to them. */
export function mirrorTemplates({ urls }: Pick<ShardMirrors, 'urls'>): string[] {
  return urls.map(({ template, s3Region }, i) => (s3Region === undefined ? template : `/mirrors/${i}/{sha256}`));
}

/**
 * Redirects to a URL of a private bucket that is signed for a few minutes. Only shards of the model are signed for, and they count
 * towards the allowance of the address as if they were sent from here.
 */
export function registerSignedMirrors(
  app: FastifyInstance,
  { shard, access }: Pick<HttpDeps, 'shard' | 'access'>,
  { urls, s3 }: ShardMirrors,
): void {
  app.get<{ Params: { mirror: string; sha256: string } }>('/mirrors/:mirror/:sha256', async (request, reply) => {
    const { mirror, sha256 } = request.params;
    const url = /^\d$/.test(mirror) ? urls[Number(mirror)] : undefined;
    const entry = SHA256_HEX.test(sha256) ? shard(sha256) : undefined;
    if (!entry || url?.s3Region === undefined) throw shardNotFound();
    if (!s3)
      throw new ApiError(503, 'This coordinator has no credentials for its bucket.', { code: 'mirror_unsigned' });
    takeAllowance(access, request.raw, entry.bytes);
    const options = { credentials: s3, region: url.s3Region, expiresS: EXPIRES_S, now: new Date() };
    return reply.header('cache-control', 'no-store').redirect(presignS3(urlOfShard(url, sha256), options), 307);
  });
}

/**
 * The credentials for buckets, from the variables that Amazon's own programs read; undefined where no mirror needs them. Throws a
 * UsageError where one does and there are none.
 */
export function s3Credentials(urls: readonly ShardUrl[], env = process.env): S3Credentials | undefined {
  if (urls.every(({ s3Region }) => s3Region === undefined)) return undefined;
  const {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    AWS_SESSION_TOKEN: sessionToken,
  } = env;
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) };
  throw new UsageError('--shard-url s3:… needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment');
}
