import { mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockFolder, type LockClock } from './lock.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-lock-'));
  path = join(folder, 'pack.lock');
});
afterEach(() => rm(folder, { recursive: true }));

/** Time that passes only where it is waited for, with what happens meanwhile. */
let nowMs: number;
let meanwhile: (nowMs: number) => Promise<unknown>;
const clock: LockClock = {
  now: () => nowMs,
  delay: (ms) => meanwhile((nowMs += ms)),
};
beforeEach(() => {
  nowMs = 0;
  meanwhile = async () => {};
});

/** A lock as another process has left it. */
async function left(changes: { pid?: number; machine?: string }): Promise<void> {
  const own = await lockFolder(folder);
  const text = JSON.stringify({ ...(JSON.parse(await readFile(path, 'utf8')) as object), token: 'other', ...changes });
  await own.release();
  await writeFile(path, text);
}

/** Gives the lock another date, as its owner does. The date says nothing: clocks of other machines may be wrong. */
async function touch(date = new Date('2001-01-01')): Promise<void> {
  const seconds = date.getTime() / 1000 + nowMs / 1000;
  await utimes(path, seconds, seconds);
}

const busy = { name: 'WeightsError', reason: 'busy' };
/** Above any process id of Linux. */
const NO_PROCESS = 2 ** 23;

describe('lockFolder', () => {
  it.each<[string, () => Promise<void>]>([
    ['of a process that runs', () => left({ pid: process.ppid })],
    ['of a process on another machine, whatever its id is here', () => left({ pid: NO_PROCESS, machine: 'other' })],
    ['of an earlier process with this id, as in a container that was started again', () => left({})],
    ['that is just being written', () => writeFile(path, '')],
  ])('respects a lock %s, for as long as it is touched', async (_, make) => {
    await make();
    meanwhile = async (atMs) => atMs % 5000 === 0 && touch();
    for (let time = 0; time < 2; time++) await expect(lockFolder(folder, clock)).rejects.toMatchObject(busy);
    // The owner has ended, wherever that was.
    meanwhile = async () => {};
    await touch(new Date('2100-01-01'));
    const sinceMs = nowMs;
    await (await lockFolder(folder, clock)).release();
    expect(nowMs - sinceMs).toBeGreaterThan(30_000);
    await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('leaves a folder to whoever comes back to it when the lock is released meanwhile', async () => {
    await left({ pid: process.ppid });
    meanwhile = async (atMs) => atMs === 1000 && rm(path);
    await expect(lockFolder(folder, clock)).rejects.toMatchObject(busy);
    await (await lockFolder(folder, clock)).release();
  });

  it('takes over the lock of a process that has ended, once', async () => {
    await left({ pid: NO_PROCESS });
    const both = await Promise.allSettled([lockFolder(folder), lockFolder(folder)]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('tells an owner that stood still for long that another has taken over, and leaves the other one its lock', async () => {
    const first = await lockFolder(folder);
    const second = await lockFolder(folder, clock);
    await expect(first.check()).rejects.toMatchObject(busy);
    await first.release();
    await second.check();
    await second.release();
  });

  it('names a folder that cannot be written, and the remedy', async () => {
    await expect(lockFolder('/dev/null')).rejects.toMatchObject({
      reason: 'unwritable',
      message: expect.stringMatching(/\/dev\/null\/pack\.lock cannot be written \(ENOTDIR.*--cache DIR/) as string,
    });
  });
});
