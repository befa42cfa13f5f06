import { expect, it } from 'vitest';
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
