import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CheckpointError, ModelError } from '../errors.ts';
import { createRng } from '../rng.ts';
import { expertTensors, listDenseTensors, listTensorSpecs } from '../tensors.ts';
import { ggufBytes, type GgufInput } from '../testing/gguf-bytes.ts';
import { smallGguf } from '../testing/small-gguf.ts';
import { Tokenizer } from '../tokenizer.ts';
import { BLOCK_TYPES } from './block-types.ts';
import { openGguf } from './checkpoint.ts';
import { ggufFiles } from './model-files.ts';

const FILE = 'small.gguf';
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'shoal-gguf-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Reads a model as packing does: tokenizer, header and every tensor. */
async function readWholeModel(path: string): Promise<void> {
  const checkpoint = await openGguf(path);
  try {
    checkpoint.check();
    const files = await ggufFiles(path);
    const json = (name: string): unknown =>
      JSON.parse(Buffer.from(files.find((file) => file.name === name)!.bytes).toString());
    const tokenizer = new Tokenizer(json('tokenizer.json'), json('tokenizer_config.json'));
    tokenizer.encode('ab a');
    const { config } = checkpoint;
    const experts = [0, 1].flatMap((layer) => [0, 1].map((expert) => expertTensors(config, layer, expert)));
    for (const spec of [...listDenseTensors(config), ...listTensorSpecs(experts)]) {
      await checkpoint.read(spec);
      await checkpoint.mxfp4Rows!(spec, 0, spec.shape[0]!);
    }
  } finally {
    await checkpoint.close();
  }
}

type Small = ReturnType<typeof smallGguf>;

interface Mutation {
  what: string;
  edit?: (file: Small) => void;
  /** Applied to the bytes of the file. */
  damage?: (bytes: Buffer) => Buffer;
  /** What the error must name beside the file: a tensor or a key. */
  names?: string;
}

const small = smallGguf();

/** Shares the weights' bytes. */
const copyOf = ({ metadata, tensors }: Small): Small => ({
  metadata: [...metadata],
  tensors: tensors.map((tensor) => ({ ...tensor })),
});

const tensorOf = (file: Small, name: string) => file.tensors.find((tensor) => tensor.name === name)!;

function setKey(key: string, value: GgufInput | undefined): (file: Small) => void {
  return (file) => {
    const at = file.metadata.findIndex(([name]) => name === key);
    if (value === undefined) file.metadata.splice(at, 1);
    else if (at < 0) file.metadata.push([key, value]);
    else file.metadata[at] = [key, value];
  };
}

const swap = (file: Small, value: Partial<Small>): void => void Object.assign(file, value);

const ofFile: Mutation[] = [
  { what: 'no bytes', damage: () => Buffer.alloc(0) },
  ...[3, 7, 20, 100, 400, 900, 1500, 2200, 2900].map((bytes) => ({
    what: `the first ${bytes} bytes only`,
    damage: (all: Buffer) => all.subarray(0, bytes),
  })),
  { what: 'another magic', damage: (all) => Buffer.concat([Buffer.from('GGML'), all.subarray(4)]) },
  { what: 'version 1', edit: (file) => swap(file, { version: 1 }) },
  { what: 'version 4', edit: (file) => swap(file, { version: 4 }) },
  { what: 'big-endian', edit: (file) => swap(file, { version: 0x03000000 }) },
  ...[1n << 63n, 1n << 40n, BigInt(small.tensors.length + 1), BigInt(small.tensors.length - 1), 0n].map((tensors) => ({
    what: `${tensors} tensors announced`,
    edit: (file: Small) => swap(file, { counts: { tensors } }),
  })),
  ...[1n << 63n, 1n << 40n, BigInt(small.metadata.length + 1), BigInt(small.metadata.length - 1), 0n].map((keys) => ({
    what: `${keys} keys announced`,
    edit: (file: Small) => swap(file, { counts: { keys } }),
  })),
];

const ofTensor: Mutation[] = ['token_embd.weight', 'blk.0.attn_q.weight', 'blk.1.ffn_gate_exps.weight'].flatMap(
  (name) => {
    const change = (what: string, edit: (tensor: Small['tensors'][number]) => void, names = name): Mutation => ({
      what: `${name}: ${what}`,
      edit: (file) => edit(tensorOf(file, name)),
      names,
    });
    const place = small.tensors.findIndex((tensor) => tensor.name === name);
    const end = small.tensors
      .slice(0, place)
      .reduce((sum, { bytes }) => sum + Math.ceil(bytes.byteLength / 32) * 32, 0);
    return [
      change('no dimensions', (tensor) => (tensor.shape = [])),
      change('5 dimensions', (tensor) => (tensor.shape = [1, 1, 1, ...tensor.shape.slice(-2)])),
      change('a dimension of 0', (tensor) => (tensor.shape = [0, 256])),
      change('a dimension of 2^63', (tensor) => (tensor.shape = [2 ** 63, 256])),
      change('2^60 values', (tensor) => (tensor.shape = [2 ** 30, 2 ** 30])),
      change('more rows than there are bytes', (tensor) => (tensor.shape = [1 << 20, 256])),
      change('rows of half a block', (tensor) => (tensor.shape = [4, 200])),
      change('an unknown type', (tensor) => (tensor.type = 99)),
      change('a place before its own', (tensor) => (tensor.offset = Math.max(0, end - 32) || 32)),
      change('a place after its own', (tensor) => (tensor.offset = end + 32)),
      change('a place between words', (tensor) => (tensor.offset = end + 1)),
      change('a place of 2^52', (tensor) => (tensor.offset = 2 ** 52)),
      change('another name', (tensor) => (tensor.name = tensor.name.replace('weight', 'wait'))),
      change('the name of another', (tensor) => (tensor.name = 'output_norm.weight'), 'output_norm.weight'),
      change('an empty name', (tensor) => (tensor.name = ''), `tensor ${place}`),
      change('a name of 300 bytes', (tensor) => (tensor.name = 'x'.repeat(300)), `tensor ${place}`),
      {
        what: `${name}: cut within its bytes`,
        damage: (all) =>
          all.subarray(
            0,
            all.byteLength - small.tensors.slice(place).reduce((sum, { bytes }) => sum + bytes.byteLength, -16),
          ),
        names: name,
      },
    ];
  },
);

const required = small.metadata
  .map(([key]) => key)
  .filter(
    (key) =>
      !/general\.name|chat_template|key_length|value_length|freq_base|token_type|head_count_kv|eos_token_id/.test(key),
  );
/** A type, the type of an array's elements, and a length, little-endian. */
const announced = (type: number, elements: number | undefined, length: bigint): GgufInput => {
  const raw = Buffer.alloc(elements === undefined ? 12 : 16);
  raw.writeUInt32LE(type);
  if (elements !== undefined) raw.writeUInt32LE(elements, 4);
  raw.writeBigUInt64LE(length, raw.byteLength - 8);
  return { raw };
};

const ofKey: Mutation[] = [
  ...[1n << 20n, 1n << 22n, 1n << 40n, 1n << 63n].flatMap((length) => [
    {
      what: `${length} tokens announced`,
      edit: setKey('tokenizer.ggml.tokens', announced(9, 8, length)),
      names: 'tokens',
    },
    {
      what: `a name of ${length} bytes`,
      edit: setKey('general.name', announced(8, undefined, length)),
      names: 'general.name',
    },
    {
      what: `${length} arrays in an array`,
      edit: setKey('general.name', announced(9, 9, length)),
      names: 'general.name',
    },
    {
      what: `${length} values of no type`,
      edit: setKey('general.name', announced(9, 77, length)),
      names: 'general.name',
    },
  ]),
  { what: 'a value of no type', edit: setKey('general.name', announced(77, undefined, 1n)), names: 'general.name' },
  ...required.map((key) => ({ what: `${key} is missing`, edit: setKey(key, undefined), names: key })),
  ...required
    .filter((key) => key.startsWith('qwen3moe'))
    .map((key) => ({ what: `${key} is a text`, edit: setKey(key, 'many'), names: key })),
  {
    what: 'a key twice',
    edit: (file) => void file.metadata.push(['qwen3moe.expert_count', 2]),
    names: 'qwen3moe.expert_count',
  },
  { what: 'one layer more', edit: setKey('qwen3moe.block_count', 3), names: 'blk.2.' },
  { what: 'one layer less', edit: setKey('qwen3moe.block_count', 1), names: 'blk.1.' },
  ...Object.entries<GgufInput>({
    'no layers': 0,
    '4 billion layers': 0xffff_ffff,
    '10^15 layers': { u64: 10n ** 15n },
    'two and a half layers': { f32: 2.5 },
    '-5 layers': { raw: Uint8Array.of(5, 0, 0, 0, 251, 255, 255, 255) },
  }).map(([what, count]) => ({
    what: `${what} of gpt-oss, whose config lists them`,
    edit: (file: Small) => {
      file.metadata = file.metadata.map(([key, value]) => [key.replace('qwen3moe.', 'gpt-oss.'), value]);
      file.metadata.push(['gpt-oss.attention.sliding_window', 8]);
      setKey('general.architecture', 'gpt-oss')(file);
      setKey('gpt-oss.block_count', count)(file);
    },
    names: 'gpt-oss.block_count',
  })),
  { what: 'more MTP modules than layers', edit: setKey('qwen3moe.nextn_predict_layers', 2), names: 'block_count' },
  { what: 'one expert more', edit: setKey('qwen3moe.expert_count', 3), names: 'blk.0.ffn_gate_inp.weight' },
  {
    what: 'more experts a token than there are',
    edit: setKey('qwen3moe.expert_used_count', 5),
    names: 'num_experts_per_tok',
  },
  { what: 'a narrower model', edit: setKey('qwen3moe.embedding_length', 128), names: 'token_embd.weight' },
  { what: 'a head more', edit: setKey('qwen3moe.attention.head_count', 6), names: 'blk.0.attn_q.weight' },
  { what: '3 key heads', edit: setKey('qwen3moe.attention.head_count_kv', 3), names: 'num_key_value_heads' },
  { what: 'an odd head', edit: setKey('qwen3moe.attention.key_length', 63), names: 'head_dim' },
  {
    what: 'eps is NaN',
    edit: setKey('qwen3moe.attention.layer_norm_rms_epsilon', { f32: Number.NaN }),
    names: 'layer_norm_rms_epsilon',
  },
  { what: 'a base of 0', edit: setKey('qwen3moe.rope.freq_base', { f32: 0 }), names: 'rope_theta' },
  {
    what: 'a scaling that is not computed',
    edit: (file) =>
      file.metadata.push(['qwen3moe.rope.scaling.type', 'dynamic'], ['qwen3moe.rope.scaling.factor', { f32: 2 }]),
    names: 'rope_scaling',
  },
  { what: 'another architecture', edit: setKey('general.architecture', 'gemma3'), names: 'general.architecture' },
  ...[0, 48, 1 << 30].map((alignment) => ({
    what: `alignment ${alignment}`,
    edit: setKey('general.alignment', alignment),
    names: 'general.alignment',
  })),
  { what: 'another tokenizer', edit: setKey('tokenizer.ggml.model', 'bert'), names: 'tokenizer.ggml.model' },
  ...[
    { what: 'too few factors of RoPE', factors: [1, 8] },
    { what: 'a factor of RoPE that is 0', factors: [1, 1, 8, 0] },
    { what: 'a factor of RoPE that is NaN', factors: [1, 1, 8, Number.NaN] },
    { what: 'factors of RoPE beside another scaling', factors: [1, 1, 8, 8], scaling: 'yarn' },
  ].map(({ what, factors, scaling }) => ({
    what,
    edit: (file: Small) => {
      const isScaling = scaling === undefined ? [] : [['llama.rope.scaling.type', scaling] as [string, string]];
      const metadata = file.metadata.map(([key, value]): [string, GgufInput] => [
        key.replace('qwen3moe.', 'llama.'),
        value,
      ]);
      swap(file, { metadata: [...metadata, ...isScaling] });
      setKey('general.architecture', 'llama')(file);
      const bytes = new Uint8Array(Float32Array.from(factors).buffer);
      file.tensors.push({ name: 'rope_freqs.weight', shape: [factors.length], type: 0, bytes });
    },
    names: 'rope_freqs.weight',
  })),
  { what: 'unknown words', edit: setKey('tokenizer.ggml.pre', 'mine'), names: 'tokenizer.ggml.pre' },
  {
    what: 'tokens that are numbers',
    edit: setKey('tokenizer.ggml.tokens', { i32s: [1, 2] }),
    names: 'tokenizer.ggml.tokens',
  },
  {
    what: 'a token twice',
    edit: setKey(
      'tokenizer.ggml.tokens',
      small.metadata.flatMap(([key, value]) => (key.endsWith('.tokens') ? ['b', ...(value as string[]).slice(1)] : [])),
    ),
    names: 'tokenizer.ggml.tokens',
  },
  {
    what: 'a piece of SentencePiece with a megabyte',
    edit: (file) => {
      const tokens = file.metadata.find(([key]) => key === 'tokenizer.ggml.tokens')![1] as string[];
      setKey('tokenizer.ggml.model', 'llama')(file);
      setKey('tokenizer.ggml.tokens', [...tokens.slice(1), 'a'.repeat(1 << 20)])(file);
      setKey('tokenizer.ggml.token_type', { i32s: tokens.map(() => 1) })(file);
      setKey('tokenizer.ggml.scores', { f32s: tokens.map((_, id) => -id) })(file);
    },
    names: 'tokenizer.ggml.tokens has a token of 1048576 bytes',
  },
  {
    what: 'a type too few',
    edit: setKey('tokenizer.ggml.token_type', { i32s: [3, 1] }),
    names: 'tokenizer.ggml.token_type',
  },
  {
    what: 'an end of text that is no token',
    edit: setKey('tokenizer.ggml.eos_token_id', 999),
    names: 'tokenizer.ggml.eos_token_id',
  },
  {
    what: 'a BOS to add that is not there',
    edit: setKey('tokenizer.ggml.add_bos_token', true),
    names: 'tokenizer.ggml.add_bos_token',
  },
  { what: 'a part that is missing', edit: setKey('split.count', 2), names: 'part' },
  { what: 'the second part', edit: setKey('split.no', 1), names: 'part' },
  { what: 'tensors of other parts', edit: setKey('split.tensors.count', 99), names: '99 tensors' },
];

/** Byte offsets of a block's float16 scale; bfloat16 and float32 have no blocks. */
const SCALES: Record<string, number> = {
  Q4_0: 0,
  Q4_1: 2,
  Q5_0: 0,
  Q5_1: 2,
  Q8_0: 0,
  Q2_K: 80,
  Q3_K: 108,
  Q4_K: 0,
  Q5_K: 2,
  Q6_K: 208,
  IQ4_NL: 0,
  IQ4_XS: 0,
  F16: 0,
};

const ofWeights: Mutation[] = small.tensors.flatMap(({ name, type }) => {
  const { name: typeName, blockBytes } = BLOCK_TYPES.get(type)!;
  const spoil = (what: string, at: number, bits: readonly number[]): Mutation => ({
    what: `${name}, ${typeName}: ${what}`,
    edit: (file) => {
      const tensor = tensorOf(file, name);
      const bytes = tensor.bytes.slice();
      tensor.bytes = bytes;
      bytes.set(bits, (bytes.byteLength / blockBytes - 2) * blockBytes + at);
    },
    names: name,
  });
  const scale = SCALES[typeName];
  if (scale !== undefined)
    return [spoil('a scale is NaN', scale, [0xff, 0x7f]), spoil('a scale is -∞', scale, [0x00, 0xfc])];
  if (typeName === 'MXFP4') return [spoil('a scale is NaN', 0, [255]), spoil('a scale is too large', 0, [254])];
  return [spoil('a value is NaN', 0, typeName === 'F32' ? [1, 0, 0x80, 0xff] : [0xc0, 0x7f])];
});

async function errorOf({ edit, damage }: Pick<Mutation, 'edit' | 'damage'>): Promise<unknown> {
  const file = copyOf(small);
  edit?.(file);
  const bytes = ggufBytes(file);
  const path = join(dir, FILE);
  await writeFile(path, damage ? damage(bytes) : bytes);
  return readWholeModel(path).then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('a GGUF file', () => {
  it('is read whole', async () => {
    expect(await errorOf({})).toBeUndefined();
  });

  const mutations = [...ofFile, ...ofTensor, ...ofKey, ...ofWeights];

  it('is damaged in more than a hundred ways', () => expect(mutations.length).toBeGreaterThan(100));

  it.each(mutations)('$what: the error names it', async (mutation) => {
    const error = await errorOf(mutation);
    expect(error instanceof CheckpointError || error instanceof ModelError, String(error)).toBe(true);
    expect((error as Error).message).toContain(FILE);
    expect((error as Error).message).toContain(mutation.names ?? '');
  });

  it('with any byte of its header changed is read or refused', async () => {
    const rng = createRng(1);
    const bytes = ggufBytes(small);
    const headerBytes =
      bytes.byteLength - small.tensors.reduce((sum, { bytes: { byteLength } }) => sum + byteLength, 0);
    for (let i = 0; i < 150; i++) {
      const at = Math.floor(rng() * headerBytes);
      const error = await errorOf({
        damage: (all) => {
          all[at] = Math.floor(rng() * 256);
          return all;
        },
      });
      const isExpected = error === undefined || error instanceof CheckpointError || error instanceof ModelError;
      expect(isExpected, `byte ${at}: ${(error as Error | undefined)?.stack}`).toBe(true);
    }
  });
});
