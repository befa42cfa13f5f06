import { mkdir, mkdtemp, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expertLayers, expertTensors, TensorSpec } from '@shoal/model';
import { openCheckpoint } from '@shoal/model/node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unpackExpert } from '../expert.ts';
import { QUANTS } from '../layout.ts';
import { DEFAULT_MODEL, writeSmallModel } from '../testing/small-model.ts';
import { asWriteError, writeWhole } from './files.ts';
import { packModel } from './pack-model.ts';
import { openPacked } from './packed-model.ts';

const FILES = [
  'config.json',
  'dense.shoal',
  'generation_config.json',
  'manifest.json',
  'shards',
  'tokenizer.json',
  'tokenizer_config.json',
];
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-pack-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('packModel', () => {
  it.each(QUANTS)('packs every expert of the default model as %s', async (quant) => {
    const out = join(folder, 'out');
    const seen: number[] = [];
    let total = 0;
    const manifest = await packModel({
      modelDir: DEFAULT_MODEL,
      outDir: out,
      quant,
      onProgress: (progress) => {
        seen.push(progress.doneBytes);
        total = progress.totalBytes;
      },
    });
    const checkpoint = await openCheckpoint(DEFAULT_MODEL);
    try {
      expect(manifest.expertLayers).toEqual(expertLayers(checkpoint.config));
      expect(manifest).toMatchObject({ modelId: 'tiny-stories', expertsPerLayer: 32 });
      expect(seen[0]).toBe(0);
      expect(seen.at(-1)).toBe(total);
      expect(manifest.dense.format).toBe('f16');
      const packed = await openPacked(out);
      await packed.verify();
      const { down } = unpackExpert(manifest.shape, await packed.readShard(6, 31));
      const original = await checkpoint.read(expertTensors(checkpoint.config, 6, 31).down);
      // bfloat16 weights of ordinary size lose at most f16's last bit, q8 half a step.
      const absMax = original.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
      const limit = { f16: absMax * 2 ** -11, q8: absMax / 127, q4: absMax / 7, mxfp4: absMax / 4 }[quant];
      for (const [i, value] of original.entries()) expect(Math.abs(value - down[i]!)).toBeLessThanOrEqual(limit);
    } finally {
      await checkpoint.close();
    }
  });

  it('resumes after an abort, and after a kill that left half a shard and half a line', async () => {
    const [whole, torn] = [join(folder, 'whole'), join(folder, 'torn')];
    const expected = await packModel({ modelDir: DEFAULT_MODEL, outDir: whole, quant: 'q8' });
    const abort = new AbortController();
    const first = packModel({
      modelDir: DEFAULT_MODEL,
      outDir: torn,
      quant: 'q8',
      signal: abort.signal,
      onProgress: ({ doneBytes, totalBytes }) => doneBytes > 0.8 * totalBytes && abort.abort(),
    });
    await expect(first).rejects.toMatchObject({ reason: 'aborted' });
    await expect(openPacked(torn)).rejects.toMatchObject({ reason: 'not-packed' });

    const journal = join(torn, 'pack-journal.jsonl');
    await writeFile(join(torn, 'shards', '.tmp-1-dead'), 'half');
    const lines = (await readFile(journal, 'utf8')).trim().split('\n');
    await writeFile(journal, `${lines.join('\n')}\n{"job":"2/1","sha`);
    // One of the finished shards is damaged, and a dense tensor: they must be packed again, not trusted.
    await writeFile(join(torn, 'shards', expected.shards[1]![3]!), new Uint8Array(expected.shardBytes));
    const part = await readFile(join(torn, 'dense.part'));
    part[part.length - 100]! ^= 1;
    await writeFile(join(torn, 'dense.part'), part);

    let jobs = 0;
    const manifest = await packModel({ modelDir: DEFAULT_MODEL, outDir: torn, quant: 'q8', onProgress: () => jobs++ });
    const all = 192 + Object.keys(expected.dense.entries).length;
    // Less the header; one call more, before the first job.
    expect(jobs - 1).toBe(all - (lines.length - 1) + 2);
    expect(manifest).toEqual(expected);
    await (await openPacked(torn)).verify();
    expect((await readdir(torn)).sort()).toEqual(FILES);
    expect(await readdir(join(torn, 'shards'))).toHaveLength(192);
  });

  it('stores identical experts once', async () => {
    await writeSmallModel(join(folder, 'model'));
    const manifest = await packModel({ modelDir: join(folder, 'model'), outDir: join(folder, 'out'), quant: 'f16' });
    expect(manifest.shards[1]![0]).toBe(manifest.shards[1]![1]);
    expect(await readdir(join(folder, 'out', 'shards'))).toHaveLength(3);
  });

  it('refuses a disk that is too small, before and while writing, and leaves nothing that looks whole', async () => {
    const options = { modelDir: join(folder, 'model'), outDir: join(folder, 'out'), quant: 'f16' as const };
    await writeSmallModel(options.modelDir);
    await expect(packModel({ ...options, freeBytes: async () => 1000 })).rejects.toMatchObject({
      reason: 'disk-full',
      message: expect.stringContaining('1000') as string,
    });
    await expect(openPacked(options.outDir)).rejects.toMatchObject({ reason: 'not-packed' });
    await packModel(options);
  });

  it('names the expert whose weight cannot be packed', async () => {
    const modelDir = join(folder, 'model');
    await writeSmallModel(modelDir);
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

  it('lets one packer into a folder at a time', async () => {
    const options = { modelDir: join(folder, 'model'), outDir: join(folder, 'out'), quant: 'q8' as const };
    await writeSmallModel(options.modelDir);
    const both = await Promise.allSettled([packModel(options), packModel(options)]);
    expect(both.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(both.find((result) => result.status === 'rejected')?.reason).toMatchObject({ reason: 'busy' });
  });

  it('packs the same bytes on threads, and passes their errors on', async () => {
    const inline = await packModel({
      modelDir: DEFAULT_MODEL,
      outDir: join(folder, 'inline'),
      quant: 'q4',
      denseQuant: 'q8',
    });
    const options = { modelDir: DEFAULT_MODEL, quant: 'q4' as const, denseQuant: 'q8' as const, threads: 2 };
    expect(await packModel({ ...options, outDir: join(folder, 'threads') })).toEqual(inline);

    const modelDir = join(folder, 'model');
    await writeSmallModel(modelDir);
    const path = join(modelDir, 'model.safetensors');
    const bytes = await readFile(path);
    bytes.writeFloatLE(1e9, bytes.length - 4);
    await writeFile(path, bytes);
    await expect(packModel({ modelDir, outDir: join(folder, 'bad'), quant: 'q8', threads: 1 })).rejects.toMatchObject({
      name: 'WeightsError',
      reason: 'bad-weight',
      message: expect.stringContaining('expert 3') as string,
    });
  });

  it('measures the error that packing adds, by kind of tensor', async () => {
    const pack = (quant: 'f16' | 'q8' | 'q4') =>
      packModel({ modelDir: DEFAULT_MODEL, outDir: join(folder, quant), quant, denseQuant: quant, measure: true });
    const [f16, q8, q4] = [await pack('f16'), await pack('q8'), await pack('q4')].map(({ nmse }) => nmse!);
    for (const kind of ['mlp.experts.gate_proj', 'mlp.experts.down_proj', 'self_attn.kv_b_proj', 'lm_head']) {
      expect(f16![kind]).toBeLessThan(1e-8);
      expect(q8![kind]).toBeGreaterThan(1e-6);
      expect(q8![kind]).toBeLessThan(1e-4);
      expect(q4![kind]).toBeGreaterThan(1e-3);
      expect(q4![kind]).toBeLessThan(1.2e-2);
    }
    expect(q4!['input_layernorm']).toBe(0);
  });

  it('refuses a checkpoint with a tensor that would be ignored, or without one that is needed', async () => {
    const modelDir = join(folder, 'model');
    await writeSmallModel(modelDir, 1, [new TensorSpec('model.layers.0.self_attn.o_proj.bias', [24])]);
    const options = { modelDir, outDir: join(folder, 'out'), quant: 'q8' as const };
    await expect(packModel(options)).rejects.toMatchObject({
      reason: 'unknown-tensor',
      message: expect.stringContaining('self_attn.o_proj.bias') as string,
    });
    await writeSmallModel(modelDir);
    const path = join(modelDir, 'model.safetensors');
    const text = (await readFile(path)).toString('latin1').replace('experts.2.up_proj', 'experts.2.up_prok');
    await writeFile(path, text, 'latin1');
    await expect(packModel(options)).rejects.toMatchObject({
      reason: 'missing-tensor',
      message: expect.stringContaining('experts.2.up_proj') as string,
    });
  });

  it('refuses a truncated checkpoint, and an output folder inside the checkpoint', async () => {
    const modelDir = join(folder, 'model');
    await writeSmallModel(modelDir);
    for (const outDir of [modelDir, join(modelDir, 'packed')]) {
      await expect(packModel({ modelDir, outDir, quant: 'q8' })).rejects.toMatchObject({
        reason: 'bad-output',
        message: expect.stringContaining(modelDir) as string,
      });
    }
    await expect(packModel({ modelDir: DEFAULT_MODEL, outDir: modelDir, quant: 'q8' })).rejects.toMatchObject({
      reason: 'bad-output',
    });
    const path = join(modelDir, 'model.safetensors');
    await truncate(path, (await stat(path)).size - 10);
    const out = join(folder, 'out');
    await expect(packModel({ modelDir, outDir: out, quant: 'q8' })).rejects.toThrow(/model\.safetensors.*truncated/s);
    await expect(openPacked(out)).rejects.toMatchObject({ reason: 'not-packed' });
  });

  it('refuses a folder that is no model', async () => {
    await expect(packModel({ modelDir: folder, outDir: join(folder, 'out'), quant: 'q8' })).rejects.toMatchObject({
      reason: 'bad-model',
      message: expect.stringContaining(folder) as string,
    });
  });
});

describe('asWriteError', () => {
  it.each([
    ['ENOSPC', 'disk-full', /free some space/],
    ['EDQUOT', 'disk-full', /free some space/],
    ['EROFS', 'unwritable', /\/x cannot be written .*--cache DIR for shoal serve, --out DIR for shoal pack/],
    ['EACCES', 'unwritable', /this user may write to/],
    ['ENOTDIR', 'unwritable', /make it a folder/],
  ])('says what to do about %s', (code, reason, message) => {
    const cause = Object.assign(new Error(`${code}: as the file system says it`), { code });
    expect(asWriteError(cause, '/x')).toMatchObject({
      reason,
      cause,
      message: expect.stringMatching(message) as string,
    });
  });

  it('leaves other errors alone', () => {
    const error = Object.assign(new Error('EMFILE'), { code: 'EMFILE' });
    expect(asWriteError(error, '/x')).toBe(error);
  });
});

describe('writeWhole', () => {
  it('leaves no temporary file when it fails', async () => {
    await mkdir(join(folder, 'taken', 'x'), { recursive: true });
    await expect(writeWhole(join(folder, 'taken'), 'text')).rejects.toThrow();
    expect(await readdir(folder)).toEqual(['taken']);
  });
});
