import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { donorTokenSchema, MAX_TABS_PER_DONOR } from '@shoal/protocol';
import type { DonorIdentity } from '../donor-identity.ts';

const TOKEN_FILE = 'donor-token';
const TOKEN_BYTES = 16;

/** An identity, and the call that gives its number back. */
export interface ClaimedIdentity extends DonorIdentity {
  release: () => Promise<void>;
}

/**
 * What `claimIdentity` is for a browser: the token of this user on this machine, made on the first visit and kept in `dir`, and a
 * number that no other of the user's running donors has. Each holds its number by a file with its process id.
 */
export async function claimDiskIdentity(dir: string): Promise<ClaimedIdentity> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const donorToken = await tokenOf(dir);
  for (let tab = 0; tab < MAX_TABS_PER_DONOR; tab++) {
    const path = join(dir, `donor-${tab}.pid`);
    if (await take(path)) return { donorToken, tab, release: () => rm(path, { force: true }) };
  }
  throw new Error(
    `${MAX_TABS_PER_DONOR} donors of this user run on this machine already, which is the most: end one of them`,
  );
}

async function tokenOf(dir: string): Promise<string> {
  const path = join(dir, TOKEN_FILE);
  const kept = await readFile(path, 'utf8').catch(() => '');
  const parsed = donorTokenSchema.safeParse(kept.trim());
  if (parsed.success) return parsed.data;
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  await writeFile(path, `${token}\n`, { mode: 0o600 });
  return token;
}

async function take(path: string): Promise<boolean> {
  if (await create(path)) return true;
  const holder = Number(await readFile(path, 'utf8').catch(() => ''));
  if (holder !== process.pid && isRunning(holder)) return false;
  // Left by a process that was killed.
  await rm(path, { force: true });
  return create(path);
}

async function create(path: string): Promise<boolean> {
  try {
    const file = await open(path, 'wx', 0o600);
    await file.writeFile(String(process.pid));
    await file.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
