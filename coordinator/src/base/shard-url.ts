import { MAX_SHARD_URLS } from '@shoal/protocol';
import type { ValueKind } from './option-values.ts';
import { UsageError } from './usage-error.ts';

/** A place that has the shards of the model, named by their SHA-256. */
export interface ShardUrl {
  /** With `{sha256}` in the place of the hash. */
  template: string;
  /** Of the URL, for the pages' content policy. */
  origin: string;
  /** The region of an S3 bucket whose URLs the coordinator signs. */
  s3Region: string | undefined;
}

const PLACEHOLDER = '{sha256}';
/** Unlike the placeholder, a URL leaves it as it is. */
const MARK = 'sha256-goes-here';
const S3 = /^s3:([a-z0-9-]{1,40}):(.*)$/;

/** Parses `URL` or `s3:REGION:URL`. Throws a UsageError whose message continues the option's name. */
export function parseShardUrl(given: string): ShardUrl {
  const [, s3Region, rest = given] = S3.exec(given) ?? [];
  if (rest.split(PLACEHOLDER).length > 2 || rest.includes(MARK))
    throw new UsageError(`takes {sha256} once, not "${given}"`);
  let url: URL;
  try {
    url = new URL(rest.replace(PLACEHOLDER, MARK));
  } catch {
    throw new UsageError(`takes an http or https URL, not "${given}"`);
  }
  // Neither is quoted: a token may be in it.
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw new UsageError('takes http or https URLs');
  if (url.username !== '' || url.password !== '') {
    throw new UsageError('takes no password before the host, which browsers refuse: put a token into the query');
  }
  if (url.hash !== '') throw new UsageError('takes no fragment (#…), which is never sent');
  if (!rest.includes(PLACEHOLDER)) url.pathname = `${url.pathname.replace(/\/+$/, '')}/${MARK}`;
  else if (!`${url.pathname}${url.search}`.includes(MARK))
    throw new UsageError('takes {sha256} in the path or the query');
  return { template: url.href.replace(MARK, PLACEHOLDER), origin: url.origin, s3Region };
}

/** The URL of one shard. */
export function urlOfShard({ template }: Pick<ShardUrl, 'template'>, sha256: string): string {
  return template.replace(PLACEHOLDER, sha256);
}

export const SHARD_URLS: ValueKind<readonly ShardUrl[]> = {
  value: 'URL',
  parse: (given) => {
    const urls = given.split(',').filter((one) => one.trim() !== '');
    if (urls.length > MAX_SHARD_URLS) throw new UsageError(`takes up to ${MAX_SHARD_URLS} URLs, not ${urls.length}`);
    return urls.map((url) => parseShardUrl(url.trim()));
  },
};
