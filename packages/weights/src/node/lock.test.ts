import { mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockFolder } from './lock.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-lock-'));
  path = join(folder, 'pack.lock');
});
afterEach(() => rm(folder, { recursive: true }));

/** A lock as another process has left it. */
async function left(changes: { pid?: number; machine?: string }, ageMs = 0): Promise<void> {
  const own = await lockFolder(folder);
  const text = JSON.stringify({ ...(JSON.parse(await readFile(path, 'utf8')) as object), token: 'other', ...changes });
  await own.release();
  await writeFile(path, text);
  const then = new Date(Date.now() - ageMs);
  await utimes(path, then, then);
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
    await expect(lockFolder(folder)).rejects.toMatchObject(busy);
    const longAgo = new Date(Date.now() - 60_000);
    await utimes(path, longAgo, longAgo);
    await (await lockFolder(folder)).release();
    await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('takes over the lock of a process that has ended, once', async () => {
    await left({ pid: NO_PROCESS });
    const both = await Promise.allSettled([lockFolder(folder), lockFolder(folder)]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });

  it('tells an owner that stood still for long that another has taken over, and leaves the other one its lock', async () => {
    const first = await lockFolder(folder);
    const longAgo = new Date(Date.now() - 60_000);
    await utimes(path, longAgo, longAgo);
    const second = await lockFolder(folder);
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
