import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { claimDiskIdentity } from './disk-identity.ts';

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'shoal-donor-identity-'))));
afterEach(() => rm(dir, { recursive: true }));

it('claimDiskIdentity keeps one token for this user alone, and gives its number back', async () => {
  const first = await claimDiskIdentity(dir);
  await first.release();
  const again = await claimDiskIdentity(dir);
  expect(again).toMatchObject({ donorToken: first.donorToken, tab: 0 });
  if (process.platform !== 'win32') expect((await stat(join(dir, 'donor-token'))).mode & 0o077).toBe(0);
  await again.release();
  expect(await readdir(dir)).toEqual(['donor-token']);
});

it('claimDiskIdentity passes over the numbers of running donors, and takes those of killed ones', async () => {
  // The parent of this process runs, and no process has the largest number.
  await writeFile(join(dir, 'donor-0.pid'), String(process.ppid));
  await writeFile(join(dir, 'donor-1.pid'), String(2 ** 31 - 1));
  expect((await claimDiskIdentity(dir)).tab).toBe(1);
});
