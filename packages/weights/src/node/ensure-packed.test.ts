import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_MODEL, writeSmallModel } from '../testing/small-model.ts';
import { ensurePacked } from './pack-model.ts';
import { openPacked } from './packed-model.ts';

let folder: string;
let cacheDir: string;
let modelDir: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-ensure-'));
  cacheDir = join(folder, 'cache');
  modelDir = join(folder, 'model');
});
afterEach(() => rm(folder, { recursive: true }));

describe('ensurePacked', () => {
  it('packs once, and a changed checkpoint beside it, under whoever serves from the first', async () => {
    await writeSmallModel(modelDir);
    let packs = 0;
    const notices: string[] = [];
    const options = {
      modelDir,
      cacheDir,
      quant: 'q8' as const,
      onProgress: ({ doneBytes }: { doneBytes: number }) => (packs += doneBytes === 0 ? 1 : 0),
      onNotice: (notice: string) => notices.push(notice),
    };
    const first = await ensurePacked(options);
    expect((await ensurePacked(options)).dir).toBe(first.dir);
    expect([packs, notices]).toEqual([1, []]);

    await writeSmallModel(modelDir, 2);
    const second = await ensurePacked(options);
    expect(packs).toBe(2);
    expect(second.dir).not.toBe(first.dir);
    expect(second.manifest.modelDigest).not.toBe(first.manifest.modelDigest);
    await first.verify();
    await second.verify();
    const others = new RegExp(`${cacheDir} also holds model-q8-f16-\\w+ \\(\\d+\\.\\d{3} GB\\): delete those`);
    expect(notices).toEqual([expect.stringMatching(others)]);

    await writeSmallModel(modelDir, 3);
    notices.length = 0;
    await expect(ensurePacked({ ...options, freeBytes: () => Promise.resolve(0) })).rejects.toMatchObject({
      reason: 'disk-full',
      message: expect.stringMatching(
        / more bytes and its disk has 0 free; .* also holds model-.*, model-.*: delete/,
      ) as string,
    });
    // Before anything was packed, too.
    expect(notices).toHaveLength(1);
  });

  it('gives models of equal names, and formats of one model, folders of their own', async () => {
    const dirs = ['a', 'b'].map((name) => join(folder, name, 'model'));
    for (const [i, dir] of dirs.entries()) await writeSmallModel(dir, i);
    const opened = await Promise.all([
      ensurePacked({ modelDir: dirs[0]!, cacheDir, quant: 'q8' }),
      ensurePacked({ modelDir: dirs[1]!, cacheDir, quant: 'q8' }),
      ensurePacked({ modelDir: dirs[1]!, cacheDir, quant: 'q8', denseQuant: 'q8' }),
      ensurePacked({ modelDir: dirs[1]!, cacheDir, quant: 'q4' }),
    ]);
    expect(new Set(opened.map(({ dir }) => dir)).size).toBe(4);
    for (const packed of opened) await packed.verify();
  });

  it('names a cache that cannot be written, and the option that chooses another', async () => {
    await writeSmallModel(modelDir);
    await writeFile(cacheDir, '');
    await expect(ensurePacked({ modelDir, cacheDir, quant: 'q8' })).rejects.toMatchObject({
      name: 'WeightsError',
      reason: 'unwritable',
      message: expect.stringMatching(new RegExp(`^${cacheDir}/.* cannot be written .*--cache DIR`)) as string,
    });
  });

  it('packs a shard again that is missing, and everything where the manifest is damaged', async () => {
    await writeSmallModel(modelDir);
    const options = { modelDir, cacheDir, quant: 'f16' as const };
    const { dir, manifest } = await ensurePacked(options);
    await rm(join(dir, 'shards', manifest.shards[1]![2]!));
    await expect(openPacked(dir)).rejects.toMatchObject({ reason: 'corrupt' });
    await ensurePacked(options);
    await (await openPacked(dir)).verify();
    await writeFile(join(dir, 'manifest.json'), '{"formatVersion": 1');
    expect((await ensurePacked(options)).manifest).toEqual(manifest);
  });

  it('replaces nothing in a damaged folder whose checkpoint changed under the same sizes and times', async () => {
    await writeSmallModel(modelDir);
    const options = { modelDir, cacheDir, quant: 'q8' as const };
    const weights = join(modelDir, 'model.safetensors');
    const date = new Date('2026-01-01');
    await utimes(weights, date, date);
    const first = await ensurePacked(options);
    const bytes = await readFile(weights);
    bytes.fill(0, bytes.length / 2);
    await writeFile(weights, bytes);
    await utimes(weights, date, date);
    for (const hash of new Set(first.manifest.shards[1]!)) await rm(join(first.dir, 'shards', hash));
    const before = await readdir(first.dir, { recursive: true });
    await expect(ensurePacked(options)).rejects.toMatchObject({
      reason: 'changed',
      message: expect.stringContaining(`delete ${first.dir} if no coordinator serves from it`) as string,
    });
    expect(await readdir(first.dir, { recursive: true })).toEqual(before);
  });

  it('lets two processes that start at once pack one model once', async () => {
    const script = join(import.meta.dirname, '../testing/ensure-packed.ts');
    const run = async () => {
      const child = spawn(process.execPath, ['--import', 'tsx', script, DEFAULT_MODEL, cacheDir]);
      const [dir, said, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
      return { dir, said, code: code as number };
    };
    const ended = await Promise.all([run(), run()]);
    expect(ended.map(({ code }) => code)).toEqual([0, 0]);
    const [folderName] = await readdir(cacheDir);
    expect(new Set(ended.map(({ dir }) => dir))).toEqual(new Set([join(cacheDir, folderName!)]));
    expect(await readdir(cacheDir)).toHaveLength(1);
    // One of them, however they were scheduled, found the other at work or its result.
    expect(ended.filter(({ said }) => said === '').length).toBeGreaterThan(0);
    expect(ended.map(({ said }) => said).join('')).toMatch(
      /^((process \d+|another process) is already packing into .*, and this one waits for it\n)*$/,
    );
    expect((await readdir(join(cacheDir, folderName!))).sort()).toContain('manifest.json');
    expect(await readdir(join(cacheDir, folderName!))).not.toContain('pack.lock');
  });
});
