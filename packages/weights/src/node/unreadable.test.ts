import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readModelFiles } from './model-files.ts';
import { packModel } from './pack-model.ts';

let folder: string;
let modelDir: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-unreadable-'));
  modelDir = join(folder, 'model');
  await mkdir(modelDir);
  await writeFile(join(modelDir, 'config.json'), '{}');
});
afterEach(() => rm(folder, { recursive: true }));

describe('a file of the checkpoint that cannot be read', () => {
  it.each<[string, () => Promise<void>, string]>([
    ['a config that is not there', () => rm(join(modelDir, 'config.json')), 'config.json'],
    ['a tokenizer that is a folder', () => mkdir(join(modelDir, 'tokenizer.json')), 'tokenizer.json'],
    ['weights that are a folder', () => mkdir(join(modelDir, 'model.safetensors')), 'model.safetensors'],
    [
      'weights that are a link to nothing, as after a cleaned cache',
      () => symlink(join(folder, 'blobs', 'gone'), join(modelDir, 'model-00002-of-00002.safetensors')),
      'model-00002-of-00002.safetensors',
    ],
    ['a whole folder that is not there', () => rm(modelDir, { recursive: true }), ''],
  ])('is named, and nothing is packed: %s', async (_, damage, name) => {
    await damage();
    const outDir = join(folder, 'out');
    await expect(packModel({ modelDir, outDir, quant: 'q8' })).rejects.toMatchObject({
      name: 'WeightsError',
      reason: 'bad-model',
      message: expect.stringContaining(`${join(modelDir, name)} cannot be read (E`) as string,
    });
    await expect(rm(outDir)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('is named when it is larger than any such file', async () => {
    const path = join(modelDir, 'tokenizer.json');
    await writeFile(path, '');
    await truncate(path, 64 * 1024 * 1024 + 1);
    await expect(readModelFiles(modelDir)).rejects.toMatchObject({
      reason: 'bad-model',
      message: expect.stringContaining(path) as string,
    });
  });
});
