import { mkdir, mkdtemp, readFile, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expertTensorNames, moeLayers } from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unpackExpert } from '../expert.ts';
import { QUANTS } from '../layout.ts';
import { asDiskFull, writeWhole } from './files.ts';
import { ensurePacked, packModel } from './pack-model.ts';
import { openPacked } from './packed-model.ts';

const MODEL = join(import.meta.dirname, '../../../../models/tiny-stories');
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-pack-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A copy of the default model's config with weights of our own: as small as the config allows, quick to change. */
async function smallModel(dir: string, seed = 1, experts = 4): Promise<void> {
  await mkdir(dir, { recursive: true });
  const config = JSON.parse(await readFile(join(MODEL, 'config.json'), 'utf8')) as Record<string, unknown>;
  const small = { hidden_size: 24, moe_intermediate_size: 8, num_hidden_layers: 2, n_routed_experts: experts };
  const groups = { n_group: 1, topk_group: 1, num_experts_per_tok: 1 };
  await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, ...small, ...groups }));
  const tensors = Array.from({ length: experts }, (_, expert) =>
    expertTensorNames({ modelType: 'deepseek_v3' }, 1, expert),
  ).flatMap((names) => [
    { name: names.gate, shape: [8, 24] },
    { name: names.up, shape: [8, 24] },
    { name: names.down, shape: [24, 8] },
  ]);
  const bytes = 8 * 24 * 4;
  const header = Object.fromEntries(
    tensors.map(({ name, shape }, i) => [name, { dtype: 'F32', shape, data_offsets: [i * bytes, (i + 1) * bytes] }]),
  );
  // Experts 0 and 1 are the same.
  const data = Float32Array.from({ length: (tensors.length * bytes) / 4 }, (_, i) => {
    const expert = Math.floor(i / (3 * 192));
    return Math.sin((i % (3 * 192)) + seed * 10 + (expert === 1 ? 0 : expert));
  });
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(join(dir, 'model.safetensors'), Buffer.concat([length, json, new Uint8Array(data.buffer)]));
}

describe('packModel', () => {
  it.each(QUANTS)('packs every expert of the default model as %s', async (quant) => {
    const out = join(folder, 'out');
    const seen: number[] = [];
    const manifest = await packModel({
      modelDir: MODEL,
      outDir: out,
      quant,
      onProgress: (progress) => seen.push(progress.doneBytes),
    });
    const checkpoint = await openCheckpoint(MODEL);
    try {
      expect(manifest.moeLayers).toEqual(moeLayers(checkpoint.config));
      expect(manifest).toMatchObject({ modelId: 'tiny-stories', expertsPerLayer: 32 });
      expect(seen[0]).toBe(0);
      expect(seen.at(-1)).toBe(160 * manifest.shardBytes);
      const packed = await openPacked(out);
      await packed.verify();
      const { down } = unpackExpert(manifest.shape, await packed.readShard(5, 31));
      const original = await checkpoint.read(expertTensorNames(checkpoint.config, 5, 31).down);
      // bfloat16 weights of ordinary size lose at most f16's last bit, q8 half a step.
      const absMax = original.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      const limit = { f16: absMax * 2 ** -11, q8: absMax / 127, q4: absMax / 7 }[quant];
      for (const [i, value] of original.entries()) expect(Math.abs(value - down[i]!)).toBeLessThanOrEqual(limit);
    } finally {
      await checkpoint.close();
    }
  });

  it('goes on after an abort, and after a kill that left half a shard and half a line', async () => {
    const [whole, torn] = [join(folder, 'whole'), join(folder, 'torn')];
    const expected = await packModel({ modelDir: MODEL, outDir: whole, quant: 'q8' });
    const abort = new AbortController();
    const first = packModel({
      modelDir: MODEL,
      outDir: torn,
      quant: 'q8',
      signal: abort.signal,
      onProgress: ({ doneBytes }) => doneBytes >= 40 * expected.shardBytes && abort.abort(),
    });
    await expect(first).rejects.toMatchObject({ reason: 'aborted' });
    await expect(openPacked(torn)).rejects.toMatchObject({ reason: 'not-packed' });

    const journal = join(torn, 'pack-journal.jsonl');
    await writeFile(join(torn, 'shards', '.tmp-1-dead'), 'half');
    await writeFile(journal, `${await readFile(journal, 'utf8')}{"layer":2,"exp`);
    // One of the finished shards is damaged: it must be packed again, not trusted.
    await writeFile(join(torn, 'shards', expected.shards[1]![3]!), new Uint8Array(expected.shardBytes));

    const progress: number[] = [];
    const manifest = await packModel({
      modelDir: MODEL,
      outDir: torn,
      quant: 'q8',
      onProgress: ({ doneBytes }) => progress.push(doneBytes),
    });
    expect(progress[0]).toBe(39 * expected.shardBytes);
    expect(manifest).toEqual(expected);
    await (await openPacked(torn)).verify();
    expect((await readdir(torn)).sort()).toEqual(['manifest.json', 'shards']);
    expect(await readdir(join(torn, 'shards'))).toHaveLength(160);
  });

  it('stores identical experts once', async () => {
    await smallModel(join(folder, 'model'));
    const manifest = await packModel({ modelDir: join(folder, 'model'), outDir: join(folder, 'out'), quant: 'f16' });
    expect(manifest.shards[1]![0]).toBe(manifest.shards[1]![1]);
    expect(await readdir(join(folder, 'out', 'shards'))).toHaveLength(3);
  });

  it('refuses a disk that is too small, before and while writing, and leaves nothing that looks whole', async () => {
    const options = { modelDir: MODEL, outDir: join(folder, 'out'), quant: 'f16' as const };
    await expect(packModel({ ...options, freeBytes: async () => 1000 })).rejects.toMatchObject({
      reason: 'disk-full',
      message: expect.stringContaining('1000') as string,
    });
    await expect(openPacked(options.outDir)).rejects.toMatchObject({ reason: 'not-packed' });
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    expect(asDiskFull(full, 'x')).toMatchObject({ reason: 'disk-full' });
    await packModel(options);
  });

  it('names the expert whose weight cannot be packed', async () => {
    const modelDir = join(folder, 'model');
    await smallModel(modelDir);
    const path = join(modelDir, 'model.safetensors');
    const bytes = await readFile(path);
    const packWithLast = async (value: number): Promise<unknown> => {
      bytes.writeFloatLE(value, bytes.length - 4);
      await writeFile(path, bytes);
      return packModel({ modelDir, outDir: join(folder, 'out'), quant: 'f16' });
    };
    await expect(packWithLast(1e30)).rejects.toMatchObject({
      reason: 'bad-weight',
      message: expect.stringMatching(/layer 1, expert 3.*down_proj\[23, 7\]/) as string,
    });
    await expect(packWithLast(Number.NaN)).rejects.toMatchObject({
      reason: 'not-finite',
      message: expect.stringMatching(/experts\.3\.down_proj\.weight: the value at \[23, 7\] is NaN/) as string,
    });
  });

  it('lets one packer into a folder at a time, and does not mind the lock of a dead one', async () => {
    const options = { modelDir: MODEL, outDir: join(folder, 'out'), quant: 'q8' as const };
    const both = await Promise.allSettled([packModel(options), packModel(options)]);
    expect(both.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(both.find((result) => result.status === 'rejected')?.reason).toMatchObject({ reason: 'busy' });

    await rm(join(options.outDir, 'manifest.json'));
    await writeFile(join(options.outDir, 'pack.lock'), `${process.ppid}`);
    await expect(packModel(options)).rejects.toMatchObject({ reason: 'busy' });
    const longAgo = new Date(Date.now() - 3_600_000);
    await utimes(join(options.outDir, 'pack.lock'), longAgo, longAgo);
    await packModel(options);
  });

  it('refuses a folder that is no model', async () => {
    await expect(packModel({ modelDir: folder, outDir: join(folder, 'out'), quant: 'q8' })).rejects.toMatchObject({
      reason: 'bad-model',
      message: expect.stringContaining(folder) as string,
    });
  });
});

describe('ensurePacked', () => {
  it('packs once, and again when the checkpoint has changed', async () => {
    const modelDir = join(folder, 'model');
    await smallModel(modelDir);
    let packs = 0;
    const options = {
      modelDir,
      cacheDir: join(folder, 'cache'),
      quant: 'q8' as const,
      onProgress: ({ doneBytes }: { doneBytes: number }) => (packs += doneBytes === 0 ? 1 : 0),
    };
    const first = await ensurePacked(options);
    const second = await ensurePacked(options);
    expect(second.manifest).toEqual(first.manifest);
    expect(packs).toBe(1);

    await smallModel(modelDir, 2);
    const third = await ensurePacked(options);
    expect(packs).toBe(2);
    expect(third.dir).toBe(first.dir);
    expect(third.manifest.modelDigest).not.toBe(first.manifest.modelDigest);
    const named = new Set(third.manifest.shards[1]);
    expect(new Set(await readdir(join(third.dir, 'shards')))).toEqual(named);
  });

  it('packs again where a shard is gone or the manifest is damaged', async () => {
    await smallModel(join(folder, 'model'));
    const options = { modelDir: join(folder, 'model'), cacheDir: join(folder, 'cache'), quant: 'f16' as const };
    const { dir, manifest } = await ensurePacked(options);
    await rm(join(dir, 'shards', manifest.shards[1]![2]!));
    await expect(openPacked(dir)).rejects.toMatchObject({ reason: 'corrupt' });
    await (await ensurePacked(options)).verify();
    await writeFile(join(dir, 'manifest.json'), '{"formatVersion": 1');
    expect((await ensurePacked(options)).manifest).toEqual(manifest);
  });
});

describe('openPacked', () => {
  it('reads only what the manifest names', async () => {
    await smallModel(join(folder, 'model'));
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
    await smallModel(join(folder, 'model'));
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
    await smallModel(join(folder, 'model'));
    const out = join(folder, 'out');
    const manifest = await packModel({ modelDir: join(folder, 'model'), outDir: out, quant: 'f16' });
    const lies: [object, string][] = [
      [{ formatVersion: 2 }, 'formatVersion'],
      [{ shardBytes: 16 }, 'shardBytes'],
      [{ shards: { 1: manifest.shards[1]!.slice(1) } }, 'shards.1'],
      [{ shards: { ...manifest.shards, 7: manifest.shards[1] } }, 'shards'],
      [{ shards: { 1: manifest.shards[1]!.map(() => '../../etc/passwd') } }, 'shards.1.0'],
      [{ moeLayers: [1, 1] }, 'moeLayers'],
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

describe('writeWhole', () => {
  it('leaves no temporary file when it fails', async () => {
    await mkdir(join(folder, 'taken', 'x'), { recursive: true });
    await expect(writeWhole(join(folder, 'taken'), 'text')).rejects.toThrow();
    expect(await readdir(folder)).toEqual(['taken']);
  });
});
