import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeSmallModel } from '../testing/small-model.ts';
import { openPackedModel } from './open-model.ts';
import { packModel } from './pack-model.ts';
import { type Damage, openPacked } from './packed-model.ts';

/** Whether the last bytes of the dense weights cannot be read, and whether writing them helps. */
const disk = vi.hoisted(() => ({ badFrom: Number.POSITIVE_INFINITY, heals: true }));

/** The real files, but for a bad sector, which Linux reports as EIO. */
vi.mock('node:fs/promises', async (original) => {
  const fs = await original<typeof import('node:fs/promises')>();
  type Call = (buffer: Uint8Array, offset: number, length: number, position: number) => Promise<unknown>;
  const open: typeof fs.open = async (path, ...rest) => {
    const file = await fs.open(path, ...rest);
    if (!`${path as string}`.endsWith('dense.shoal')) return file;
    const [read, write] = [file.read.bind(file) as Call, file.write.bind(file) as Call];
    const patched: { read: Call; write: Call } = {
      read: (buffer, offset, length, position) =>
        position + length > disk.badFrom
          ? Promise.reject(Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' }))
          : read(buffer, offset, length, position),
      write: (buffer, offset, length, position) => {
        if (disk.heals && position + length > disk.badFrom) disk.badFrom = Number.POSITIVE_INFINITY;
        return write(buffer, offset, length, position);
      },
    };
    return Object.assign(file, patched);
  };
  return { ...fs, open };
});

let folder: string;
let modelDir: string;
let out: string;
let denseBytes: number;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-sector-'));
  [modelDir, out] = [join(folder, 'model'), join(folder, 'out')];
  await writeSmallModel(modelDir);
  denseBytes = (await packModel({ modelDir, outDir: out, quant: 'q8', denseQuant: 'q8' })).dense.bytes;
});
beforeEach(() => {
  disk.heals = true;
});
afterAll(() => rm(folder, { recursive: true }));

async function readDense(checkpoint?: string): Promise<Damage[]> {
  const found: Damage[] = [];
  const packed = await openPacked(out, { checkpoint, onDamage: (one) => found.push(one) });
  const opened = await openPackedModel(packed);
  try {
    for (const entry of opened.dense!.layout.segments.flatMap(({ entries }) => entries))
      await opened.dense!.read(entry, new Uint8Array(entry.bytes));
  } finally {
    await opened.close();
  }
  return found;
}

describe.each([
  ['the dense weights', () => denseBytes - 100],
  ['their header', () => 10],
])('a bad sector in %s', (_, badFrom) => {
  beforeEach(() => {
    disk.badFrom = badFrom();
  });

  it('is written anew from the checkpoint', async () => {
    const path = join(out, 'dense.shoal');
    expect(await readDense(modelDir)).toMatchObject([
      { path, mended: true, text: expect.stringMatching(/cannot be read \(EIO.*packed again from/) as string },
    ]);
    expect(await readDense()).toEqual([]);
  });

  it.each([
    ['without a checkpoint', undefined, /dense\.shoal cannot be read \(EIO.*; mend it with: shoal pack/],
    ['that stays', 'model', /dense\.shoal cannot be read \(EIO.*the disk may be failing; mend it with: shoal pack/],
  ])('is named %s', async (_case, checkpoint, message) => {
    disk.heals = false;
    const reading = readDense(checkpoint && join(folder, checkpoint));
    await expect(reading).rejects.toMatchObject({
      name: 'WeightsError',
      reason: 'corrupt',
      message: expect.stringMatching(message) as string,
    });
  });
});
