import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeSmallModel } from '../testing/small-model.ts';
import { lockFolder } from './lock.ts';
import { ensurePacked, packModel } from './pack-model.ts';

/** Writes to the disk that succeed until each is refused with `code`. */
const disk = vi.hoisted(() => ({ writesLeft: Number.POSITIVE_INFINITY, code: 'EROFS' }));

/**
 * The real files, but what changes something below a folder `failing` fails once the writes are used up; `mkdir` as in Node 20 on
 * Linux, which says of a read-only disk only that a folder is missing.
 */
vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>();
  const failure = (path: unknown, code = disk.code): Error | undefined => {
    if (!String(path).includes('failing') || disk.writesLeft-- > 0) return undefined;
    return Object.assign(new Error(`${code}: as Linux says it, '${String(path)}'`), { code });
  };
  type Call = (path: string, ...rest: never[]) => Promise<unknown>;
  const failing =
    (call: unknown): Call =>
    (path, ...rest) => {
      const error = failure(path);
      return error ? Promise.reject(error) : (call as Call)(path, ...rest);
    };
  const open: typeof fs.open = async (path, flags, ...rest) => {
    if (flags === 'r' || flags === undefined) return fs.open(path, flags, ...rest);
    // A full disk still gives names to empty files, and takes them back.
    const isFull = disk.code === 'ENOSPC';
    const error = isFull ? undefined : failure(path);
    if (error) throw error;
    const file = await fs.open(path, flags, ...rest);
    const writeFile = file.writeFile.bind(file);
    if (isFull) file.writeFile = (...all) => failing(() => writeFile(...all))(String(path)) as Promise<void>;
    return file;
  };
  const mkdir = (path: string, options?: { recursive?: boolean }) => {
    const error = failure(path, options?.recursive ? 'ENOENT' : disk.code);
    return error ? Promise.reject(error) : fs.mkdir(path, options);
  };
  const rm: Call = (path, ...rest) =>
    (disk.code === 'ENOSPC' ? (fs.rm as unknown as Call) : failing(fs.rm))(path, ...rest);
  return { ...fs, rm, rename: failing(fs.rename), writeFile: failing(fs.writeFile), open, mkdir };
});

let folder: string;
let modelDir: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-disk-'));
  modelDir = join(folder, 'model');
  await writeSmallModel(modelDir);
});
beforeEach(() => {
  disk.writesLeft = Number.POSITIVE_INFINITY;
  disk.code = 'EROFS';
});
afterAll(() => {
  disk.writesLeft = Number.POSITIVE_INFINITY;
  return rm(folder, { recursive: true });
});

const unwritable = (path: string) => ({
  name: 'WeightsError',
  reason: 'unwritable',
  message: expect.stringMatching(new RegExp(`^${path}.* cannot be written \\(EROFS.*--cache DIR`)) as string,
});

it('an empty cache on a read-only disk is named, with the option that chooses another', async () => {
  const cacheDir = join(folder, 'failing-1');
  disk.writesLeft = 0;
  await expect(ensurePacked({ modelDir, cacheDir, quant: 'q8' })).rejects.toMatchObject(unwritable(`${cacheDir}/`));
});

describe('a disk that turns read-only', () => {
  it('is named, whichever write comes first, and its lock does not hide it at the next start', async () => {
    const options = { modelDir, quant: 'q8' as const };
    let writes = 1;
    for (; ; writes++) {
      const outDir = join(folder, `failing-after-${writes}`);
      disk.writesLeft = writes;
      const pack = (): Promise<unknown> => packModel({ ...options, outDir }).catch((error: unknown) => error);
      const first = await pack();
      // Only the lock could not be removed, if anything.
      if (!(first instanceof Error)) break;
      expect(first, `after ${writes} writes`).toMatchObject(unwritable(outDir));
      const isComplete = (await readdir(outDir).catch((): string[] => [])).includes('manifest.json');
      expect(await pack(), `again, after ${writes} writes`).toMatchObject(
        isComplete ? { modelId: 'model' } : unwritable(outDir),
      );
    }
    // All kinds of writes were tried: folders, lock, journal, dense weights, shards, copied files, manifest, sweep.
    expect(writes).toBeGreaterThan(20);
  });

  it('is named where the lock of a process that has ended lies in it', async () => {
    const dir = join(folder, 'failing-lock');
    await mkdir(dir);
    const path = join(dir, 'pack.lock');
    const own = await lockFolder(dir);
    const text = await readFile(path, 'utf8');
    await own.release();
    // Above any process id of Linux.
    await writeFile(path, JSON.stringify({ ...(JSON.parse(text) as object), pid: 2 ** 23 }));
    disk.writesLeft = 0;
    await expect(lockFolder(dir)).rejects.toMatchObject(unwritable(path));
  });
});

it('a full disk leaves no empty lock, which would be waited for', async () => {
  const dir = join(folder, 'failing-full');
  await mkdir(dir);
  disk.code = 'ENOSPC';
  disk.writesLeft = 0;
  await expect(lockFolder(dir)).rejects.toMatchObject({ reason: 'disk-full' });
  disk.writesLeft = Number.POSITIVE_INFINITY;
  expect(await readdir(dir)).toEqual([]);
  await (await lockFolder(dir)).release();
  await expect(readFile(join(dir, 'pack.lock'))).rejects.toMatchObject({ code: 'ENOENT' });
});
