import { copyFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeSmallModel } from '../testing/small-model.ts';
import { sha256 } from './files.ts';
import { packModel } from './pack-model.ts';
import { openPacked, type PackedModel } from './packed-model.ts';
import { checkPublished, publishShards } from './publish.ts';

let folder: string;
let packed: PackedModel;
let dir: string;
let names: string[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-publish-'));
  await writeSmallModel(join(folder, 'model'));
  const out = join(folder, 'out');
  const manifest = await packModel({ modelDir: join(folder, 'model'), outDir: out, quant: 'f16' });
  packed = await openPacked(out);
  names = [...new Set(Object.values(manifest.shards).flat())].toSorted();
  dir = join(folder, 'public');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const pathOf = (name: string): string => join(dir, 'shards', name);

describe('publishShards', () => {
  it('places each shard under its hash, with an index and the headers for a host', async () => {
    expect(await publishShards({ packed, dir })).toEqual({
      shards: names.length,
      linked: names.length,
      copied: 0,
      replaced: 0,
    });
    expect((await readdir(join(dir, 'shards'))).toSorted()).toEqual(names);
    for (const name of names) expect(sha256(await readFile(pathOf(name)))).toBe(name);
    const { modelDigest, modelId } = packed.manifest;
    expect(JSON.parse(await readFile(join(dir, 'index.json'), 'utf8'))).toMatchObject({
      version: 1,
      models: [{ modelId, modelDigest, shards: names.length }],
    });
    const list = JSON.parse(await readFile(join(dir, 'models', `${modelDigest}.json`), 'utf8')) as { shards: string[] };
    expect(list.shards).toEqual(names);
    expect(await readFile(join(dir, '_headers'), 'utf8')).toMatch(/Access-Control-Allow-Origin: \*[^]*immutable/);
    expect(await checkPublished(dir)).toMatchObject({ shards: names.length, damaged: [], missing: [] });
  });

  it('goes on after an interruption, and has nothing to do for a folder that is complete', async () => {
    const interrupted = publishShards({ packed, dir, signal: AbortSignal.abort() });
    await expect(interrupted).rejects.toMatchObject({ reason: 'aborted' });
    expect(await readdir(dir)).not.toContain('index.json');
    await copyFile(packed.shardPath(names[0]!)!, pathOf(names[0]!));
    await writeFile(pathOf('.tmp-1-left'), 'x');
    expect(await publishShards({ packed, dir })).toMatchObject({ linked: names.length - 1, replaced: 0 });
    expect((await readdir(join(dir, 'shards'))).toSorted()).toEqual(names);
    expect(await publishShards({ packed, dir })).toEqual({ shards: names.length, linked: 0, copied: 0, replaced: 0 });
  });

  it('replaces a file of another size, and with `check` one that is damaged, without touching what was packed', async () => {
    await publishShards({ packed, dir });
    const [short, damaged] = names as [string, string];
    const whole = await readFile(pathOf(damaged));
    for (const name of [short, damaged]) await rm(pathOf(name));
    await writeFile(pathOf(short), whole.subarray(1));
    await writeFile(
      pathOf(damaged),
      whole.map((byte) => byte ^ 1),
    );
    expect(await publishShards({ packed, dir })).toMatchObject({ linked: 1, replaced: 1 });
    expect(await checkPublished(dir)).toMatchObject({ damaged: [damaged], missing: [] });
    expect(await publishShards({ packed, dir, check: true })).toMatchObject({ linked: 1, replaced: 1 });
    await rm(pathOf(short));
    expect(await checkPublished(dir)).toMatchObject({ damaged: [], missing: [short] });
    await packed.verify();
  });

  it('publishes no damaged shard', async () => {
    const path = packed.shardPath(names[0]!)!;
    await writeFile(path, Buffer.alloc((await stat(path)).size));
    await rm(join(folder, 'model'), { recursive: true });
    await expect(publishShards({ packed, dir })).rejects.toMatchObject({ reason: 'corrupt' });
    expect(await readdir(join(dir, 'shards'))).not.toContain(names[0]);
  });

  it('keeps other models of the folder, and refuses one that is not its own', async () => {
    await publishShards({ packed, dir });
    const index = join(dir, 'index.json');
    const other = { modelId: 'other', modelDigest: 'c'.repeat(64), quant: 'q4', shards: 1, shardBytes: 1 };
    const { models } = JSON.parse(await readFile(index, 'utf8')) as { models: object[] };
    await writeFile(index, JSON.stringify({ version: 1, models: [other, ...models] }));
    await publishShards({ packed, dir });
    expect(JSON.parse(await readFile(index, 'utf8'))).toEqual({ version: 1, models: [other, ...models] });
    await writeFile(index, '[]');
    await expect(publishShards({ packed, dir })).rejects.toThrow(/not an index of published shards/);
    await expect(checkPublished(join(folder, 'model'))).rejects.toThrow(/nothing has been published/);
  });
});
