import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { ensurePacked, packModel } from './pack-model.ts';
import { type Damage, openPacked } from './packed-model.ts';

const MODEL = join(import.meta.dirname, '../../../../models/tiny-stories');
const state = vi.hoisted(() => ({ shardsLeft: Number.POSITIVE_INFINITY }));

/** A disk that is full after some shards: the real files, but for a write that fails as Linux's does. */
vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>();
  const open: typeof fs.open = async (path, ...rest) => {
    const file = await fs.open(path, ...rest);
    if (!`${path as string}`.includes('shards') || state.shardsLeft-- > 0) return file;
    file.writeFile = () =>
      Promise.reject(Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' }));
    return file;
  };
  return { ...fs, open };
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-full-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

it('a disk that fills up in the middle ends packing with its remedy; with room it goes on', async () => {
  const options = { modelDir: MODEL, outDir: join(folder, 'out'), quant: 'q8' as const };
  state.shardsLeft = 50;
  await expect(packModel(options)).rejects.toMatchObject({
    reason: 'disk-full',
    message: expect.stringMatching(/the disk is full, writing .*shards.*run again/) as string,
  });
  await expect(openPacked(options.outDir)).rejects.toMatchObject({ reason: 'not-packed' });
  expect((await readdir(join(options.outDir, 'shards'))).filter((name) => name.startsWith('.tmp-'))).toEqual([]);

  state.shardsLeft = Number.POSITIVE_INFINITY;
  let calls = 0;
  await packModel({ ...options, onProgress: () => calls++ });
  expect(calls).toBe(1 + 142);
  await (await openPacked(options.outDir)).verify();
});

it('a shard that the full disk kept from being mended is no damage of the model that is packed then', async () => {
  const options = { modelDir: MODEL, cacheDir: join(folder, 'cache'), quant: 'q8' as const };
  const { dir, manifest } = await ensurePacked(options);
  await rm(join(dir, 'shards', manifest.shards[1]![2]!));
  state.shardsLeft = 0;
  const found: Damage[] = [];
  const notices: string[] = [];
  const packed = await ensurePacked({
    ...options,
    onDamage: (damage) => found.push(damage),
    onNotice: (notice) => notices.push(notice),
    freeBytes: () => {
      state.shardsLeft = Number.POSITIVE_INFINITY;
      return Promise.resolve(Number.POSITIVE_INFINITY);
    },
  });
  expect(found).toEqual([]);
  expect(notices).toEqual([
    expect.stringMatching(
      /shards\/\w+ is missing, and could not be packed again .*disk is full.*\. So the model is packed anew/,
    ),
  ]);
  await packed.verify();
});
