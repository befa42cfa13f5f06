import { expect, it } from 'vitest';
import { parseShardUrl, urlOfShard } from './shard-url.ts';

it.each([
  ['https://cdn.example.org/shoal', 'https://cdn.example.org/shoal/{sha256}'],
  ['https://cdn.example.org', 'https://cdn.example.org/{sha256}'],
  ['http://10.0.0.5:8788/shards/', 'http://10.0.0.5:8788/shards/{sha256}'],
  ['https://cdn.example.org/w?token=a%2Fb', 'https://cdn.example.org/w/{sha256}?token=a%2Fb'],
  ['https://cdn.example.org/get?file={sha256}.bin&sig=1', 'https://cdn.example.org/get?file={sha256}.bin&sig=1'],
])('makes a template of %s', (given, template) => {
  const url = parseShardUrl(given);
  expect(url).toEqual({ template, origin: new URL(given.replace('{sha256}', '')).origin, s3Region: undefined });
  expect(urlOfShard(url, 'abc')).toBe(template.replace('{sha256}', 'abc'));
});

it('reads the region of a bucket whose URLs are to be signed', () => {
  expect(parseShardUrl('s3:eu-central-1:https://weights.s3.eu-central-1.amazonaws.com/shards')).toMatchObject({
    s3Region: 'eu-central-1',
    origin: 'https://weights.s3.eu-central-1.amazonaws.com',
  });
});

it.each([
  ['ftp://example.org/', /http/],
  ['shards', /http/],
  ['https://me:secret@example.org/', /password/],
  ['https://example.org/#a', /fragment/],
  ['https://{sha256}.example.org/', /path or the query/],
  ['https://example.org/{sha256}/{sha256}', /once/],
])('refuses %s', (given, message) => {
  expect(() => parseShardUrl(given)).toThrow(message);
});
