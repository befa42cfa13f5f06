import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadGenerationConfig, loadTokenizer } from '@shoal/model/node';
import { afterAll, expect, it, vi } from 'vitest';
import { writeGgufParts, writeSmallCheckpoint } from '../testing/small-gguf.ts';
import { openModel } from './open-model.ts';
import { ensurePacked, packModel } from './pack-model.ts';
import { exportGguf } from './gguf/export.ts';

const folder = await mkdtemp(join(tmpdir(), 'shoal-pack-gguf-'));
afterAll(() => rm(folder, { recursive: true, force: true }));
const modelDir = await writeSmallCheckpoint(folder);
const models = join(folder, 'models');
await mkdir(models);
const file = join(models, 'small.gguf');
await exportGguf({ modelDir, out: file, type: 'f32' });

const pack = (model: string, outDir: string) => packModel({ modelDir: model, outDir, quant: 'q8', threads: 0 });

it('a GGUF file, whole or in parts, packs to the bytes of the checkpoint that it was made of', async () => {
  const { shards, dense } = await pack(modelDir, join(folder, 'expected'));
  const parts = await writeGgufParts(modelDir, join(folder, 'parts'), 2);
  for (const [path, name] of [[file, 'whole'] as const, [parts, 'split'] as const]) {
    const manifest = await pack(path, join(folder, name));
    expect([manifest.modelId, manifest.shards, manifest.dense]).toEqual(['small', shards, dense]);
  }
});

it('the folder of a GGUF file is no part of it: packed models may lie there, and a manifest of anything', async () => {
  const packed = await ensurePacked({ modelDir: file, cacheDir: join(models, '.cache'), quant: 'q8', threads: 0 });
  expect(await pack(file, join(models, 'packed'))).toEqual(packed.manifest);
  // A packed model of something else, of which only the weights are elsewhere.
  await copyFile(join(models, 'packed/manifest.json'), join(models, 'manifest.json'));
  const beside = await openModel(file);
  expect([beside.modelId, beside.packed]).toEqual(['small', undefined]);
  await beside.close();
  await writeFile(join(models, 'manifest.json'), '{}');
  const again = await ensurePacked({ modelDir: file, cacheDir: join(models, '.cache'), quant: 'q8', threads: 0 });
  expect(again.manifest).toEqual(packed.manifest);
});

it('a GGUF file is opened with its tokenizer in memory, so that nothing remains of a process that is killed', async () => {
  const temporary = join(folder, 'tmp');
  await mkdir(temporary);
  vi.stubEnv('TMPDIR', temporary);
  const opened = await openModel(file);
  vi.unstubAllEnvs();
  expect(await readdir(temporary)).toEqual([]);
  expect((await loadTokenizer(opened.folder)).idOf('ab')).toBe(15);
  expect((await loadGenerationConfig(opened.folder)).eosTokenIds).toEqual([0]);
  await opened.close();
});

it('a GGUF file is not packed into itself, nor among others', async () => {
  const before = await readFile(file);
  await expect(pack(file, file)).rejects.toMatchObject({ reason: 'unwritable' });
  await expect(pack(modelDir, models)).rejects.toMatchObject({
    reason: 'bad-output',
    message: expect.stringMatching(/models holds a checkpoint \(\*\.gguf\)/) as string,
  });
  expect((await readFile(file)).equals(before)).toBe(true);
});
