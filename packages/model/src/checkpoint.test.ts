import { copyFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Checkpoint } from './checkpoint.ts';
import { openCheckpoint } from './open-checkpoint.ts';
import { CheckpointError, ModelError, type CheckpointErrorReason } from './errors.ts';
import { TensorSpec } from './tensors.ts';

const tiny = join(import.meta.dirname, '../../../models/tiny-stories');

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-checkpoint-'));
  await copyFile(join(tiny, 'config.json'), join(dir, 'config.json'));
});
afterEach(() => rm(dir, { recursive: true }));

/** A safetensors file of F32 vectors. */
async function writeTensors(name: string, tensors: Record<string, number[]>): Promise<void> {
  let at = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([tensor, values]) => {
      const begin = at;
      at += values.length * 4;
      return [tensor, { dtype: 'F32', shape: [values.length], data_offsets: [begin, at] }];
    }),
  );
  const json = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.byteLength));
  await writeFile(
    join(dir, name),
    Buffer.concat([prefix, json, Buffer.from(Float32Array.from(Object.values(tensors).flat()).buffer)]),
  );
}

type RawTensors = Record<string, { dtype: string; shape: number[]; bytes: Uint8Array | Float32Array }>;

const fp8 = (shape: number[], code: number) => ({
  dtype: 'F8_E4M3',
  shape,
  bytes: new Uint8Array(shape.reduce((a, b) => a * b, 1)).fill(code),
});

/** A model.safetensors of tensors as given. */
async function writeRaw(tensors: RawTensors): Promise<void> {
  let at = 0;
  const header: Record<string, unknown> = {};
  const parts: Buffer[] = [];
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [at, at + bytes.byteLength] };
    at += bytes.byteLength;
    parts.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }
  const json = Buffer.from(JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(json.byteLength));
  await writeFile(join(dir, 'model.safetensors'), Buffer.concat([prefix, json, ...parts]));
}

/** The default model's config.json as one of an FP8 checkpoint. */
async function quantised(blockSize: [number, number]): Promise<void> {
  const config = JSON.parse(await readFile(join(tiny, 'config.json'), 'utf8')) as Record<string, unknown>;
  const quantization = { quant_method: 'fp8', fmt: 'e4m3', weight_block_size: blockSize };
  await writeFile(join(dir, 'config.json'), JSON.stringify({ ...config, quantization_config: quantization }));
}

const writeIndex = (weightMap: unknown) =>
  writeFile(join(dir, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }));

async function refusal(action: Promise<unknown>): Promise<CheckpointError> {
  const error = await action.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  return error as CheckpointError;
}

/** A spec of a stored tensor, in whatever shape it has. */
function whole(checkpoint: Checkpoint, name: string): TensorSpec {
  return new TensorSpec(name, checkpoint.has(new TensorSpec(name, [])) ? checkpoint.info(name).shape : []);
}

async function using<T>(use: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(dir);
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

describe('openCheckpoint', () => {
  it('reads single tensors of the default model, converted and raw', async () => {
    const checkpoint = await openCheckpoint(tiny);
    const name = 'model.layers.1.mlp.experts.31.down_proj.weight';
    expect(checkpoint.info(name)).toMatchObject({ dtype: 'BF16', shape: [192, 64], bytes: 24_576 });
    const [raw, values] = [await checkpoint.readRaw(name), await checkpoint.read(new TensorSpec(name, [192, 64]))];
    const first = new Float32Array(Uint32Array.of((raw[0]! | (raw[1]! << 8)) << 16).buffer)[0];
    expect(values).toHaveLength(192 * 64);
    expect(values[0]).toBe(first);
    expect(checkpoint.has(new TensorSpec('model.norm.weight', [64]))).toBe(true);
    expect(checkpoint.has(new TensorSpec('constructor', [64]))).toBe(false);
    await checkpoint.close();
  });

  it('stores embedding and head of the MTP module equal to the main model, whose they are read as', async () => {
    const checkpoint = await openCheckpoint(tiny);
    for (const [copy, original] of [
      ['model.layers.6.embed_tokens.weight', 'model.embed_tokens.weight'],
      ['model.layers.6.shared_head.head.weight', 'lm_head.weight'],
    ] as const) {
      expect(Buffer.compare(await checkpoint.readRaw(copy), await checkpoint.readRaw(original))).toBe(0);
    }
    await checkpoint.close();
  });

  it('reads several files through their index', async () => {
    await writeTensors('model-00001-of-00002.safetensors', { a: [1, 2], b: [3] });
    await writeTensors('model-00002-of-00002.safetensors', { c: [4, 5, 6] });
    await writeIndex({
      a: 'model-00001-of-00002.safetensors',
      b: 'model-00001-of-00002.safetensors',
      c: 'model-00002-of-00002.safetensors',
    });
    await using(async (checkpoint) => {
      expect([...checkpoint.tensors].sort()).toEqual(['a', 'b', 'c']);
      expect(await checkpoint.read(whole(checkpoint, 'b'))).toEqual(Float32Array.of(3));
      expect(await checkpoint.read(new TensorSpec('c', [3]))).toEqual(Float32Array.of(4, 5, 6));
    });
  });

  it.each<[CheckpointErrorReason, string, unknown]>([
    ['missing-tensor', 'x', { a: 'one.safetensors', b: 'one.safetensors', x: 'one.safetensors' }],
    ['bad-index', 'b', { a: 'one.safetensors' }],
    ['bad-index', 'a', { a: '../one.safetensors', b: 'one.safetensors' }],
    ['bad-index', 'a', { a: '/etc/one.safetensors', b: 'one.safetensors' }],
    ['bad-index', 'weight_map', {}],
    ['bad-index', 'weight_map', ['one.safetensors']],
    ['bad-index', 'weight_map', undefined],
    ['not-found', 'two.safetensors', { a: 'one.safetensors', b: 'two.safetensors' }],
  ])('refuses (%s) an index, naming %s', async (reason, named, weightMap) => {
    await writeTensors('one.safetensors', { a: [1], b: [2] });
    await writeIndex(weightMap);
    const error = await refusal(openCheckpoint(dir));
    expect(error.reason).toBe(reason);
    expect(error.message).toContain(named);
  });

  it('refuses a tensor stored twice', async () => {
    await writeTensors('one.safetensors', { a: [1] });
    await writeTensors('two.safetensors', { a: [1], b: [2] });
    await writeIndex({ a: 'one.safetensors', b: 'two.safetensors' });
    expect(await refusal(openCheckpoint(dir))).toMatchObject({
      reason: 'duplicate',
      tensor: 'a',
      file: 'two.safetensors',
    });
  });

  it('refuses a file cut anywhere', async () => {
    await writeTensors('model.safetensors', { a: [1, 2, 3, 4], b: [5] });
    const whole = await readFile(join(dir, 'model.safetensors'));
    for (let bytes = 0; bytes < whole.byteLength; bytes++) {
      await writeFile(join(dir, 'model.safetensors'), whole.subarray(0, bytes));
      const { reason, file } = await refusal(openCheckpoint(dir));
      expect(['truncated', 'out-of-range']).toContain(reason);
      expect(file).toBe('model.safetensors');
    }
  });

  it('names the tensor when a file shrinks after it was opened', async () => {
    await writeTensors('model.safetensors', { a: [1], b: [2] });
    await using(async (checkpoint) => {
      await truncate(join(dir, 'model.safetensors'), 20);
      expect(await refusal(checkpoint.read(whole(checkpoint, 'b')))).toMatchObject({ reason: 'changed', tensor: 'b' });
    });
  });

  it('reads FP8 with its scales as one tensor, edges of smaller blocks included', async () => {
    await quantised([2, 2]);
    await writeRaw({
      'w.weight': {
        dtype: 'F8_E4M3',
        shape: [3, 3],
        bytes: Uint8Array.of(0x38, 0x38, 0x40, 0x38, 0x38, 0x40, 0xb8, 0x38, 0x40),
      },
      'w.weight_scale_inv': { dtype: 'F32', shape: [2, 2], bytes: Float32Array.of(2, 3, 5, 7) },
    });
    await using(async (checkpoint) => {
      expect([...(await checkpoint.read(new TensorSpec('w.weight', [3, 3])))]).toEqual([2, 2, 6, 2, 2, 6, -5, 5, 14]);
      expect(await checkpoint.readRaw('w.weight')).toHaveLength(9);
    });
  });

  it.each<[string, CheckpointErrorReason, string, [number, number] | undefined, RawTensors]>([
    ['scales are missing', 'missing-tensor', 'w.weight_scale_inv', [2, 2], { 'w.weight': fp8([2, 2], 0x38) }],
    [
      'scales have another shape',
      'wrong-shape',
      'w.weight_scale_inv',
      [2, 2],
      {
        'w.weight': fp8([3, 2], 0x38),
        'w.weight_scale_inv': { dtype: 'F32', shape: [1, 1], bytes: Float32Array.of(1) },
      },
    ],
    ['config.json says nothing of it', 'wrong-dtype', 'w.weight', undefined, { 'w.weight': fp8([2, 2], 0x38) }],
    ['it is no matrix', 'wrong-shape', 'w.weight', [2, 2], { 'w.weight': fp8([4], 0x38) }],
    [
      'a code is NaN',
      'not-finite',
      'w.weight',
      [2, 2],
      {
        'w.weight': fp8([2, 2], 0x7f),
        'w.weight_scale_inv': { dtype: 'F32', shape: [1, 1], bytes: Float32Array.of(1) },
      },
    ],
  ])('refuses FP8 where %s', async (_, reason, tensor, blockSize, tensors) => {
    if (blockSize) await quantised(blockSize);
    await writeRaw(tensors);
    await using(async (checkpoint) => {
      expect(await refusal(checkpoint.read(whole(checkpoint, 'w.weight')))).toMatchObject({ reason, tensor });
    });
  });

  it('refuses weights that are not finite, naming the tensor and the place', async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      await writeTensors('model.safetensors', { a: [1, 2], b: [3, bad, 4] });
      await using(async (checkpoint) => {
        expect(await checkpoint.read(whole(checkpoint, 'a'))).toHaveLength(2);
        const error = await refusal(checkpoint.read(whole(checkpoint, 'b')));
        expect(error).toMatchObject({ reason: 'not-finite', tensor: 'b', file: 'model.safetensors' });
        expect(error.message).toContain(`[1] is ${bad}`);
      });
    }
  });

  it('takes a checkpoint without an MTP module at its word, though config.json still speaks of one', async () => {
    await writeTensors('model.safetensors', { 'model.norm.weight': [1] });
    await using(({ config }) => {
      expect([config.numNextnPredictLayers, config.layerKinds.length]).toEqual([0, 6]);
      return Promise.resolve();
    });
    await writeTensors('model.safetensors', { 'model.layers.6.enorm.weight': [1] });
    await using(({ config }) => {
      expect([config.numNextnPredictLayers, config.layerKinds.length]).toEqual([1, 7]);
      return Promise.resolve();
    });
  });

  it('refuses the wrong shape, an unknown name and a read after close', async () => {
    await writeTensors('model.safetensors', { a: [1, 2, 3, 4] });
    const checkpoint = await openCheckpoint(dir);
    const error = await refusal(checkpoint.read(new TensorSpec('a', [2, 2])));
    expect(error.reason).toBe('wrong-shape');
    expect(error.message).toContain('[4]');
    expect(error.message).toContain('[2, 2]');
    expect(await refusal(checkpoint.read(whole(checkpoint, 'nothing')))).toMatchObject({
      reason: 'missing-tensor',
      tensor: 'nothing',
    });
    await checkpoint.close();
    await checkpoint.close();
    expect(await refusal(checkpoint.read(whole(checkpoint, 'a')))).toMatchObject({ reason: 'closed', tensor: 'a' });
  });

  it('says which file is missing or not JSON', async () => {
    expect(await refusal(openCheckpoint(dir))).toMatchObject({
      reason: 'not-found',
      file: join(dir, 'model.safetensors'),
    });
    await writeFile(join(dir, 'config.json'), '{');
    await expect(openCheckpoint(dir)).rejects.toMatchObject({
      reason: 'bad-json',
      message: expect.stringContaining(join(dir, 'config.json')),
    });
    await rm(join(dir, 'config.json'));
    await expect(openCheckpoint(dir)).rejects.toBeInstanceOf(ModelError);
  });
});
