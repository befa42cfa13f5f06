import { expect, it } from 'vitest';
import { Access } from './access.ts';
import { accessFixture, entry } from './testing/fixtures.ts';
import { digestOf } from './token.ts';

const { open, write } = accessFixture();

it('Access.reload reports changes by name, and an unusable file changes nothing', () => {
  const access = open({ apiKeys: [entry('ann', 'key-of-ann')] });
  const said: string[] = [];
  access.events.on('report', (level, text) => said.push(`${level}: ${text}`));
  write({ apiKeys: [entry('ann', 'new-key-of-ann'), entry('bob', 'key-of-bob')], limits: { peersPerAddress: 5 } });
  access.reload();
  expect(said.join()).toMatch(/info: .*apiKeys \+ bob; apiKeys changed: ann; peersPerAddress 5/);
  expect(said.join()).not.toContain(digestOf('key-of-bob').toString('hex').slice(0, 8));
  write('{');
  access.reload();
  expect(said.at(-1)).toContain('error: The access rules are unchanged');
  expect(access.policy.apiKeys).toHaveLength(2);
});

it.each([
  [false, '127.0.0.1', '203.0.113.7', /from 127\.0\.0\.1 came with X-Forwarded-For.*start with --trust-proxy/],
  [false, '::ffff:172.18.0.1', '203.0.113.7', /from 172\.18\.0\.1 came with X-Forwarded-For/],
  [false, '203.0.113.9', '203.0.113.7', undefined],
  [false, '127.0.0.1', undefined, undefined],
  [true, '127.0.0.1', '203.0.113.7', undefined],
  [true, '127.0.0.1', undefined, undefined],
  [true, '192.168.1.4', undefined, /from 192\.168\.1\.4 came without X-Forwarded-For.*without --trust-proxy/],
  [true, undefined, undefined, undefined],
])(
  'Access warns once of a proxy that --trust-proxy does not fit (%s, from %s for %s)',
  (trustProxy, from, of, wanted) => {
    const access = new Access({ trustProxy });
    const said: string[] = [];
    access.events.on('report', (level, text) => said.push(`${level}: ${text}`));
    const headers = of === undefined ? {} : { 'x-forwarded-for': of };
    for (let time = 0; time < 2; time++) access.addressOf({ headers, socket: { remoteAddress: from } });
    expect(said).toEqual(wanted ? [expect.stringMatching(wanted)] : []);
    expect(said.filter((text) => !text.startsWith('warning'))).toEqual([]);
  },
);
