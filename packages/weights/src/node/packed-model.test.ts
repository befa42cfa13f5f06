import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expertTensorNames, loadDenseWeights } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_MODEL, writeSmallModel } from '../testing/small-model.ts';
import { openModel } from './open-model.ts';
import { packModel } from './pack-model.ts';
import { openPacked } from './packed-model.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-packed-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('openPacked', () => {
  it('reads only what the manifest names', async () => {
    await writeSmallModel(join(folder, 'model'));
    const manifest = await packModel({ modelDir: join(folder, 'model'), outDir: join(folder, 'out'), quant: 'f16' });
    const packed = await openPacked(join(folder, 'out'));
    expect(packed.shardPath(manifest.shards[1]![0]!)).toBe(join(folder, 'out', 'shards', manifest.shards[1]![0]!));
    for (const name of ['../manifest.json', 'a'.repeat(64), '', '__proto__']) {
      expect(packed.shardPath(name)).toBeUndefined();
    }
    await expect(packed.readShard(0, 0)).rejects.toMatchObject({ reason: 'bad-shard' });
    await expect(packed.readShard(1, 4)).rejects.toMatchObject({ reason: 'bad-shard' });
  });

  it('names the shard that was tampered with', async () => {
    await writeSmallModel(join(folder, 'model'));
    const manifest = await packModel({ modelDir: join(folder, 'model'), outDir: join(folder, 'out'), quant: 'f16' });
    const path = join(folder, 'out', 'shards', manifest.shards[1]![2]!);
    const bytes = await readFile(path);
    bytes[100]! ^= 1;
    await writeFile(path, bytes);
    const packed = await openPacked(join(folder, 'out'));
    const corrupt = { reason: 'corrupt', message: expect.stringContaining(path) as string };
    await expect(packed.readShard(1, 2)).rejects.toMatchObject(corrupt);
    await expect(packed.verify()).rejects.toMatchObject(corrupt);
    await packed.readShard(1, 3);
    await writeFile(path, bytes.subarray(1));
    await expect(packed.readShard(1, 2)).rejects.toMatchObject(corrupt);
  });

  it('refuses a manifest that lies', async () => {
    await writeSmallModel(join(folder, 'model'));
    const out = join(folder, 'out');
    const manifest = await packModel({ modelDir: join(folder, 'model'), outDir: out, quant: 'f16' });
    const lies: [object, string][] = [
      [{ formatVersion: 1 }, 'formatVersion'],
      [{ files: [{ name: '../x', bytes: 1, sha256: 'a'.repeat(64) }] }, 'files.0.name'],
      [{ shardBytes: 16 }, 'shardBytes'],
      [{ shards: { 1: manifest.shards[1]!.slice(1) } }, 'shards.1'],
      [{ shards: { ...manifest.shards, 7: manifest.shards[1] } }, 'shards'],
      [{ shards: { 1: manifest.shards[1]!.map(() => '../../etc/passwd') } }, 'shards.1.0'],
      [{ expertLayers: [1, 1] }, 'expertLayers'],
    ];
    for (const [lie, where] of lies) {
      await writeFile(join(out, 'manifest.json'), JSON.stringify({ ...manifest, ...lie }));
      await expect(openPacked(out)).rejects.toMatchObject({
        reason: 'bad-manifest',
        message: expect.stringContaining(where) as string,
      });
    }
    await writeFile(join(out, 'manifest.json'), JSON.stringify({ ...manifest, modelDigest: 'a'.repeat(64) }));
    await expect(openPacked(out)).rejects.toMatchObject({ reason: 'corrupt' });
  });
});

describe('openModel', () => {
  it('gives the same tensors from a packed directory as from the checkpoint, without it', async () => {
    const modelDir = join(folder, 'model');
    await writeSmallModel(modelDir);
    const out = join(folder, 'out');
    await packModel({ modelDir, outDir: out, quant: 'f16', denseQuant: 'f32' });
    const source = await openModel(modelDir);
    const expected = await loadDenseWeights(source.config, source.reader);
    const gate = expertTensorNames(source.config, 1, 2).gate;
    const expectedGate = await source.reader.read(gate);
    await source.close();
    await rm(modelDir, { recursive: true });

    const packed = await openModel(out);
    try {
      expect(packed.config).toEqual(source.config);
      expect(packed.modelId).toBe('model');
      expect(await loadDenseWeights(packed.config, packed.reader)).toEqual(expected);
      const values = await packed.reader.read(gate, [8, 24]);
      for (const [i, value] of values.entries()) expect(value).toBeCloseTo(expectedGate[i]!, 3);
      await expect(packed.reader.read('model.layers.9.x')).rejects.toMatchObject({ reason: 'not-packed' });
    } finally {
      await packed.close();
    }
  });

  it('names the dense tensor, or the file, that was tampered with', async () => {
    const out = join(folder, 'out');
    await packModel({ modelDir: DEFAULT_MODEL, outDir: out, quant: 'q4', denseQuant: 'q4' });
    const path = join(out, 'dense.shoal');
    const bytes = await readFile(path);
    bytes[bytes.length - 200]! ^= 1;
    await writeFile(path, bytes);
    await expect((await openPacked(out)).verify()).rejects.toMatchObject({
      reason: 'corrupt',
      message: expect.stringMatching(/dense\.shoal has other bytes for \w+/) as string,
    });
    const tokenizer = join(out, 'tokenizer.json');
    const json = await readFile(tokenizer);
    json[50]! ^= 1;
    await writeFile(tokenizer, json);
    await expect((await openPacked(out)).verify()).rejects.toThrow(/tokenizer\.json is not what was packed/);
    await writeFile(tokenizer, 'x');
    await expect(openPacked(out)).rejects.toMatchObject({ reason: 'corrupt' });
  });
});
