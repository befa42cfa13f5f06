import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expertTensors, loadDenseWeights, TensorSpec } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeSmallModel } from '../testing/small-model.ts';
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
    const gate = expertTensors(source.config, 1, 2).gate!;
    const expectedGate = await source.reader.read(gate);
    await source.close();
    await rm(modelDir, { recursive: true });

    const packed = await openModel(out);
    try {
      expect(packed.config).toEqual(source.config);
      expect(packed.modelId).toBe('model');
      expect(await loadDenseWeights(packed.config, packed.reader)).toEqual(expected);
      const values = await packed.reader.read(gate);
      for (const [i, value] of values.entries()) expect(value).toBeCloseTo(expectedGate[i]!, 3);
      await expect(packed.reader.read(new TensorSpec('model.layers.9.x', [1]))).rejects.toMatchObject({
        reason: 'not-packed',
      });
    } finally {
      await packed.close();
    }
  });
});
