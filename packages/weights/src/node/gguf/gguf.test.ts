import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createRng, f16ToF32 } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeSmallCheckpoint } from '../../testing/small-gguf.ts';
import { packModel } from '../pack-model.ts';
import { directorySource } from '../source/directory-source.ts';
import { exportGguf } from './export.ts';
import { GGUF_TYPES } from './format.ts';
import { type GgufTensor, writeGguf } from './writer.ts';

const rng = createRng(7);
const values = Float32Array.from({ length: 64 }, () => rng() * 4 - 2);

describe('quantised blocks', () => {
  it('q8_0: a half and 32 codes, each within half a step', () => {
    const bytes = GGUF_TYPES.q8_0.encode(values);
    expect(bytes).toHaveLength(68);
    const view = new DataView(bytes.buffer);
    for (const [i, value] of values.entries()) {
      const block = Math.floor(i / 32) * 34;
      const d = f16ToF32(view.getUint16(block, true));
      // The half of a step, and what rounding d to a half shifts the largest code by.
      expect(Math.abs(view.getInt8(block + 2 + (i % 32)) * d - value)).toBeLessThan(d * (0.5 + 127 / 2048));
    }
  });

  it("q4_0: ggml's example, column i low and i + 16 high", () => {
    const block = new Float32Array(32);
    [block[0], block[1], block[16], block[17]] = [-8, 7, 1, -3];
    const bytes = GGUF_TYPES.q4_0.encode(block);
    // d = −8 / −8 = 1; codes are value + 8.
    expect(f16ToF32(bytes[0]! | (bytes[1]! << 8))).toBe(1);
    expect([bytes[2], bytes[3], bytes[4]]).toEqual([0x90, 0x5f, 0x88]);
  });

  it('a block of zeros has d = 0', () => {
    expect(GGUF_TYPES.q8_0.encode(new Float32Array(32))).toEqual(new Uint8Array(34));
    // Minus zero, since 0 / −8 is: as ggml writes it.
    expect(GGUF_TYPES.q4_0.encode(new Float32Array(32)).slice(0, 2)).toEqual(Uint8Array.of(0, 0x80));
  });
});

describe('a file', () => {
  let dir: string;
  beforeEach(async () => (dir = await mkdtemp(join(tmpdir(), 'shoal-gguf-'))));
  afterEach(() => rm(dir, { recursive: true, force: true }));

  const tensor = (name: string, shape: number[], read: GgufTensor['read']): GgufTensor => {
    return { name, shape, type: 'f32', read };
  };
  async function* of(...pieces: number[][]): AsyncGenerator<Float32Array> {
    for (const piece of pieces) yield Float32Array.from(piece);
  }

  it('has its dimensions fastest first, and its data on 32 bytes', async () => {
    const path = join(dir, 'a.gguf');
    const tensors = [tensor('a', [2, 3], () => of([1, 2, 3], [4, 5, 6])), tensor('b', [1], () => of([7]))];
    await writeGguf(path, { metadata: new Map([['k', { type: 'u32', value: 9 }]]), tensors });
    const bytes = await readFile(path);
    expect(bytes.subarray(0, 4).toString()).toBe('GGUF');
    const dimensions = bytes.indexOf('a', 24 + 8 + 1 + 8);
    expect([bytes.readUInt32LE(dimensions + 1), bytes.readBigUInt64LE(dimensions + 5)]).toEqual([2, 3n]);
    expect(bytes.length % 32).toBe(0);
    const data = bytes.length - 64;
    expect([bytes.readFloatLE(data), bytes.readFloatLE(data + 20), bytes.readFloatLE(data + 32)]).toEqual([1, 6, 7]);
  });

  it('is not there until it is whole, nor when it cannot be', async () => {
    const path = join(dir, 'a.gguf');
    const short = [tensor('a', [2, 3], () => of([1, 2, 3]))];
    await expect(writeGguf(path, { metadata: new Map(), tensors: short })).rejects.toThrow(/a yielded 12 of 24 bytes/);
    const aborted = AbortSignal.abort();
    await expect(writeGguf(path, { metadata: new Map(), tensors: short }, { signal: aborted })).rejects.toThrow(
      /interrupted/,
    );
    expect(await readdir(dir)).toEqual([]);
  });
});

describe('what cannot be exported', () => {
  let dir: string;
  beforeEach(async () => (dir = await mkdtemp(join(tmpdir(), 'shoal-gguf-'))));
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it('is refused by its config or tokenizer before its weights are fetched', async () => {
    const modelDir = await writeSmallCheckpoint(dir);
    const fetching = () => Promise.reject(new Error('now the weights would be fetched'));
    const exported = (from: string) =>
      exportGguf({ source: { ...directorySource(from), open: fetching }, out: join(dir, 'out.gguf'), type: 'f32' });
    await expect(exported(modelDir)).rejects.toThrow(/now the weights/);
    const olmoe = join(import.meta.dirname, '../../../../../test/golden/fixtures/families/olmoe');
    await expect(exported(olmoe)).rejects.toMatchObject({
      reason: 'bad-model',
      message: expect.stringMatching(/olmoe has no latent attention/) as string,
    });
    const tokenizer = join(modelDir, 'tokenizer.json');
    await writeFile(tokenizer, (await readFile(tokenizer, 'utf8')).replace('"use_regex":true', '"use_regex":false'));
    await expect(exported(modelDir)).rejects.toThrow(/splits words by ByteLevel; .*only GPT-2's/);
  });

  it('is refused by what it is: a GGUF file, a packed model', async () => {
    const out = join(dir, 'small.gguf');
    const modelDir = await writeSmallCheckpoint(dir);
    await exportGguf({ modelDir, out, type: 'f32' });
    await expect(exportGguf({ modelDir: out, out, type: 'f32' })).rejects.toThrow(/small\.gguf is a GGUF file already/);
    const packed = join(dir, 'packed');
    await packModel({ modelDir, outDir: packed, quant: 'q8', threads: 0 });
    await expect(exportGguf({ modelDir: packed, out, type: 'f32' })).rejects.toThrow(/holds a packed model/);
    await expect(packModel({ modelDir: packed, outDir: join(dir, 'again'), quant: 'q8' })).rejects.toMatchObject({
      reason: 'bad-model',
      message: expect.stringMatching(/packed holds a packed model.*: give the checkpoint/) as string,
    });
  });
});
