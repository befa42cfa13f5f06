import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inviteTokenSchema } from '@shoal/protocol';
import { expect, it } from 'vitest';
import { Access } from '../access/access.ts';
import { UsageError } from '../base/usage-error.ts';
import { runToken } from './token.ts';

function run(...argv: string[]): string {
  let out = '';
  const stdout = { write: (text: string) => (out += text) };
  expect(runToken(argv, { stdout })).toBe(0);
  return out;
}

it('makes a token whose entry the access file takes, and a new one each time', () => {
  const out = run('--name', 'class-3b');
  const [, token, entry] = /^token {2}(\S+)\nentry {2}(\S+)\n$/.exec(out)!;
  expect(inviteTokenSchema.safeParse(token).success).toBe(true);
  expect(entry).not.toContain(token);
  const file = join(mkdtempSync(join(tmpdir(), 'shoal-token-')), 'access.json');
  writeFileSync(file, `{"invites": [${entry}]}`, { mode: 0o600 });
  expect(new Access({ file }).invite(token!)?.name).toBe('class-3b');
  expect(run('--name', 'class-3b')).not.toBe(out);
});

it('says what is wrong with a name or an option', () => {
  for (const argv of [['--name', 'a b'], ['--name', ''], ['--count', '3'], ['stray']]) {
    expect(() => run(...argv), argv.join(' ')).toThrow(UsageError);
  }
});
