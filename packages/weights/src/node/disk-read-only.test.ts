import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { writeSmallModel } from '../testing/small-model.ts';
import { ensurePacked } from './pack-model.ts';

/** A disk that may only be read: the real files, but `mkdir` fails there as it does in Node 20 on Linux. */
vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>();
  const mkdir = (path: string, options?: { recursive?: boolean }) => {
    if (!path.includes('read-only')) return fs.mkdir(path, options);
    const code = options?.recursive ? 'ENOENT' : 'EROFS';
    return Promise.reject(Object.assign(new Error(`${code}: as Linux says it, mkdir '${path}'`), { code }));
  };
  return { ...fs, mkdir };
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-disk-'));
  await writeSmallModel(join(folder, 'model'));
});
afterAll(() => rm(folder, { recursive: true }));

it('an empty cache on a read-only disk is named, with the option that chooses another', async () => {
  const cacheDir = join(folder, 'read-only');
  await expect(ensurePacked({ modelDir: join(folder, 'model'), cacheDir, quant: 'q8' })).rejects.toMatchObject({
    name: 'WeightsError',
    reason: 'unwritable',
    message: expect.stringMatching(new RegExp(`^${cacheDir}/.* cannot be written \\(EROFS.*--cache DIR`)) as string,
  });
});
