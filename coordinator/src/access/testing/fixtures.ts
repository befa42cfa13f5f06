import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Access } from '../access.ts';
import { digestOf } from '../token.ts';

/** An entry of the access file. */
export const entry = (name: string, token: string, more: object = {}) => ({
  name,
  sha256: digestOf(token).toString('hex'),
  ...more,
});

export interface AccessFixture {
  path: string;
  /** Replaces the access file. */
  write(contents: object | string): void;
  /** Replaces the access file and opens it. */
  open(contents: object, adminToken?: string): Access;
}

/** An access file in a temporary folder. */
export function accessFixture(): AccessFixture {
  const path = join(mkdtempSync(join(tmpdir(), 'shoal-access-')), 'access.json');
  const write = (contents: object | string): void =>
    writeFileSync(path, typeof contents === 'string' ? contents : JSON.stringify(contents), { mode: 0o600 });
  return {
    path,
    write,
    open(contents, adminToken) {
      write(contents);
      return new Access({ file: path, adminToken });
    },
  };
}
