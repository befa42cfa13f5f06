import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { COMMIT, FakeHub, REPO, splitModel } from '../../testing/fake-hub.ts';
import { DEFAULT_MODEL } from '../../testing/small-model.ts';
import { freeBytesOf } from '../files.ts';
import { packModel } from '../pack-model.ts';
import { openPacked } from '../packed-model.ts';
import { openSource } from '../source/open-source.ts';

const folder = await mkdtemp(join(tmpdir(), 'shoal-small-disk-'));
const disk = join(folder, 'disk');
afterAll(async () => {
  execFileSync('umount', [disk]);
  await rm(folder, { recursive: true, force: true });
});

it('a checkpoint larger than the whole disk is packed on it, since each file is dropped when it is packed', async () => {
  await mkdir(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=14m', 'tmpfs', disk]);
  const files = await splitModel(DEFAULT_MODEL, 12);
  const weights = [...files].filter(([name]) => name.endsWith('.safetensors')).map(([, bytes]) => bytes.byteLength);
  expect(weights.reduce((sum, bytes) => sum + bytes, 0)).toBeGreaterThan(19e6);
  const hub = await FakeHub.start({ files });
  try {
    const source = await openSource(`${REPO}@${COMMIT}`, { env: { ...hub.env, HF_HOME: join(folder, 'home') } });
    const outDir = join(disk, 'out');
    const progress: number[] = [];
    let looks = 0;
    await packModel({
      source,
      outDir,
      quant: 'q8',
      denseQuant: 'q8',
      // The kernel says when this disk is full, not the check beforehand, whose spare room is larger than it.
      freeBytes: (dir) => (looks++ === 0 ? Promise.resolve(1e12) : freeBytesOf(dir)),
      onProgress: ({ doneBytes, totalBytes }) => progress.push(doneBytes / totalBytes),
    });
    expect(progress.at(-1)).toBe(1);
    await (await openPacked(outDir)).verify();
    await expect(stat(join(outDir, 'download'))).rejects.toMatchObject({ code: 'ENOENT' });
  } finally {
    await hub.close();
  }
});
