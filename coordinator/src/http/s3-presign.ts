import { createHash, createHmac } from 'node:crypto';

export interface S3Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  /** Of temporary credentials. */
  sessionToken?: string | undefined;
}

export interface PresignOptions {
  credentials: S3Credentials;
  region: string;
  expiresS: number;
  now: Date;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';

/**
 * A GET of an object, signed in its query for a while (Signature Version 4, "Authenticating Requests: Using Query Parameters" in
 * Amazon's S3 API reference).
 */
export function presignS3(url: string, { credentials, region, expiresS, now }: PresignOptions): string {
  const { host, pathname, searchParams, origin } = new URL(url);
  const time = now.toISOString().replace(/[:-]|\.\d{3}/g, '');
  const day = time.slice(0, 8);
  const scope = `${day}/${region}/s3/aws4_request`;
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const query: [string, string][] = [
    ...searchParams,
    ['X-Amz-Algorithm', ALGORITHM],
    ['X-Amz-Credential', `${accessKeyId}/${scope}`],
    ['X-Amz-Date', time],
    ['X-Amz-Expires', String(expiresS)],
    ['X-Amz-SignedHeaders', 'host'],
    ...(sessionToken === undefined ? [] : ([['X-Amz-Security-Token', sessionToken]] as [string, string][])),
  ];
  // By names; a name may be the beginning of another.
  const byName = query
    .map(([name, value]) => [strict(name), strict(value)] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  const encoded = byName.map((parameter) => parameter.join('='));
  const path = pathname
    .split('/')
    .map((part) => strict(decodeURIComponent(part)))
    .join('/');
  const request = ['GET', path, encoded.join('&'), `host:${host}\n`, 'host', 'UNSIGNED-PAYLOAD'].join('\n');
  const digest = createHash('sha256').update(request).digest('hex');
  const key = [region, 's3', 'aws4_request'].reduce<Buffer>(hmac, hmac(Buffer.from(`AWS4${secretAccessKey}`), day));
  const signature = hmac(key, [ALGORITHM, time, scope, digest].join('\n')).toString('hex');
  return `${origin}${path}?${encoded.join('&')}&X-Amz-Signature=${signature}`;
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

/** RFC 3986's unreserved characters alone stay as they are. */
function strict(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
