import { randomBytes } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { open, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { WeightsError } from '../errors.ts';
import { asWriteError } from './files.ts';

const LOCK_FILE = 'pack.lock';
/** Interval at which a packer touches its lock. */
const TOUCH_MS = 5_000;
/** A lock that is not touched for so long is nobody's. */
const STALE_MS = 30_000;
/** Between two looks at a lock. */
const LOOK_MS = 250;
/** From taking a stale lock until it is looked at again, since another process may take it at the same moment. */
const SETTLE_MS = 200;

export interface PackLock {
  /** Throws WeightsError `busy` if another packer has taken the folder, which it may after this one stood still for long. */
  check(): Promise<void>;
  release(): Promise<void>;
}

const ownerSchema = z.object({ pid: z.number().int(), machine: z.string(), token: z.string() });
type Owner = z.infer<typeof ownerSchema>;

/** Where a process id means the same process: on one machine, in one container. */
const MACHINE = `${hostname()} ${pidNamespace()}`;

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

export type What = string | ((who: string) => Error);

export interface LockClock {
  /** Milliseconds that never go back. */
  now(): number;
  delay(ms: number): Promise<unknown>;
}

const SYSTEM: LockClock = { now: () => performance.now(), delay };

/**
 * Locks a folder for one packer of any process, machine or container. A lock is stale at once if its process ran here and has
 * ended. Any other is watched until it is touched or released, or is stale after half a minute. Its date is not compared with this
 * machine's, since either clock may be wrong. Throws WeightsError `busy`, `disk-full` or `unwritable`. `what` is
 * what is being done, for the error `busy`, or makes that error.
 */
export async function lockFolder(dir: string, clock: LockClock = SYSTEM, what: What = 'packing'): Promise<PackLock> {
  const path = join(dir, LOCK_FILE);
  const own: Owner = { pid: process.pid, machine: MACHINE, token: randomBytes(8).toString('hex') };
  const text = JSON.stringify(own);
  if (!(await create(path, text))) {
    await refuseLive(dir, path, clock, what);
    await write(path, () => writeFile(path, text));
    await clock.delay(SETTLE_MS);
  }
  const check = async (): Promise<void> => {
    if ((await readFile(path, 'utf8').catch(() => '')) !== text) throw busy(dir, 'another process', what);
  };
  await check();
  const timer = setInterval(() => {
    // Another date each time, whatever happens to the computer's clock.
    const nowS = (performance.timeOrigin + performance.now()) / 1000;
    // A lock that cannot be touched is taken over, and the next check finds out.
    utimes(path, nowS, nowS).catch(() => {});
  }, TOUCH_MS).unref();
  const release = async (): Promise<void> => {
    clearInterval(timer);
    // One that cannot be removed is stale once this process has ended. Why packing failed matters more.
    await check()
      .then(() => rm(path, { force: true }))
      .catch(() => {});
  };
  return { check, release };
}

/** Whether the lock did not exist, and does now. */
async function create(path: string, text: string): Promise<boolean> {
  const file = await open(path, 'wx').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') return undefined;
    throw asWriteError(error, path);
  });
  if (!file) return false;
  await write(path, () => file.writeFile(text).finally(() => file.close()));
  return true;
}

/** Leaves no empty lock on a full disk, which would look like one that is being written. */
async function write(path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    await rm(path, { force: true }).catch(() => {});
    throw asWriteError(error, path);
  }
}

async function refuseLive(dir: string, path: string, { now, delay }: LockClock, what: What): Promise<void> {
  const first = await lookAt(path);
  const owner = first && parseOwner(first.text);
  if (owner && owner.machine === MACHINE && owner.pid !== process.pid && !isRunning(owner.pid)) return;
  const sinceMs = now();
  // One that is gone was released, by a packer that has finished perhaps.
  for (let last = first; last && last.text === first?.text && last.date === first.date; last = await lookAt(path)) {
    if (now() - sinceMs > STALE_MS) return;
    await delay(LOOK_MS);
  }
  throw busy(dir, owner ? `process ${owner.pid}` : 'another process', what);
}

/** Opened first, since a network drive tells a file's present date only then. */
async function lookAt(path: string): Promise<{ text: string; date: bigint } | undefined> {
  const file = await open(path, 'r').catch(() => undefined);
  if (!file) return undefined;
  try {
    return { text: await file.readFile('utf8'), date: (await file.stat({ bigint: true })).mtimeNs };
  } catch {
    return undefined;
  } finally {
    await file.close();
  }
}

/** Undefined for the lock of an earlier version, or one that is being written. */
function parseOwner(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function busy(dir: string, who: string, what: What): Error {
  if (typeof what === 'function') return what(who);
  return new WeightsError('busy', `${who} is already ${what} into ${dir}; wait for it, or choose another folder`);
}
