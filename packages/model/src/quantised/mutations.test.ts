import { describe, expect, it } from 'vitest';
import { CheckpointError, ModelError } from '../errors.ts';
import { createRng } from '../rng.ts';
import type { TensorDtype } from '../safetensors.ts';
import {
  type QuantisedCase,
  quantisedCheckpoint,
  readQuantisedCases,
  serialise,
  specsOf,
  type StoredTensor,
} from '../testing/quantised-fixtures.ts';

const cases = readQuantisedCases();
const MUTATIONS = 100;

/** A damaged checkpoint. */
interface Mutation {
  what: string;
  bytes: Uint8Array;
  quantisation: unknown;
  /** The error has to contain one of these. */
  names: string[];
}

type Rng = () => number;
const pick = <T>(rng: Rng, list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
const OF_ACTIVATIONS = /activation_scale|input_scale|input_global_scale/;
/** Other types of as many bytes, none of which can be meant. */
const MISTAKEN: Partial<Record<TensorDtype, TensorDtype>> = {
  F8_E4M3: 'F8_E5M2',
  F8_E8M0: 'I8',
  U8: 'I8',
  I8: 'U8',
  I32: 'U32',
  I64: 'F64',
  F32: 'I32',
  F16: 'I16',
  BF16: 'U16',
};

function mutate(rng: Rng, one: QuantisedCase): Mutation | undefined {
  const used = [...one.tensors].filter(([name]) => !OF_ACTIVATIONS.test(name));
  const [name, tensor] = pick(rng, used);
  const changed = (what: string, change: StoredTensor | undefined, names = [name]): Mutation => {
    const tensors = new Map(one.tensors);
    if (change) tensors.set(name, change);
    else tensors.delete(name);
    return { what: `${name} ${what}`, bytes: serialise(tensors), quantisation: one.quantisation, names };
  };
  return pick(rng, [
    // g_idx may be left out where columns are not reordered, which the config says.
    () => changed('is missing', undefined, name.endsWith('.g_idx') ? ['g_idx'] : [name, `${one.name}.weight`]),
    () => changed('has another type', { ...tensor, dtype: MISTAKEN[tensor.dtype]! }, [name, `${one.name}.weight`]),
    () => changed(...misshapen(rng, tensor)),
    () => poisoned(rng, name, tensor, changed),
    () => poisoned(rng, name, tensor, changed),
    () => truncated(rng, one, used),
    () => reconfigured(rng, one),
    () => withExtra(rng, one),
  ])();
}

/** Other sizes: an axis too many, the last row missing, or rows for columns. */
function misshapen(rng: Rng, tensor: StoredTensor): [string, StoredTensor] {
  const { shape, bytes } = tensor;
  const [first = 1, ...rest] = shape;
  const axis = pick(rng, [0, shape.length]);
  const longer: [string, StoredTensor] = [
    `has an axis too many at ${axis}`,
    { ...tensor, shape: [...shape.slice(0, axis), 1, 1, 1, ...shape.slice(axis)] },
  ];
  if (first < 2) return longer;
  const rows = 1 + Math.floor(rng() * (first - 1));
  return pick(rng, [
    longer,
    [
      `has ${rows} rows instead of ${first}`,
      { ...tensor, shape: [rows, ...rest], bytes: bytes.slice(0, (bytes.byteLength / first) * rows) },
    ],
  ]);
}

/** A value that cannot be: NaN, ∞, a negative magnitude, a group or a shape that there isn't. */
function poisoned(
  rng: Rng,
  name: string,
  tensor: StoredTensor,
  changed: (what: string, change: StoredTensor) => Mutation,
): Mutation | undefined {
  const bytes = new Uint8Array(tensor.bytes);
  const view = new DataView(bytes.buffer);
  const kind = name.slice(name.lastIndexOf('.') + 1);
  const put = (what: string, bytesPerValue: number, write: (at: number) => void): Mutation => {
    const index = Math.floor(rng() * (bytes.byteLength / bytesPerValue));
    write(index * bytesPerValue);
    return changed(`has ${what} at ${index}`, { ...tensor, bytes });
  };
  const bad = pick(rng, [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
  switch (tensor.dtype) {
    case 'F32':
      return put(`${bad}`, 4, (at) => view.setFloat32(at, bad, true));
    case 'BF16':
    case 'F16': {
      const infinity = tensor.dtype === 'F16' ? 0x7c00 : 0x7f80;
      const bits = infinity | pick(rng, [0, 1, 0x8000, 0x8001]);
      return put(`0x${bits.toString(16)}`, 2, (at) => view.setUint16(at, bits, true));
    }
    case 'F8_E4M3': {
      const code = kind === 'weight' ? pick(rng, [0x7f, 0xff]) : pick(rng, [0x7f, 0xff, 0x81, 0xc0]);
      return put(`0x${code.toString(16)}`, 1, (at) => (bytes[at] = code));
    }
    case 'F8_E8M0':
      return put('NaN', 1, (at) => (bytes[at] = 255));
    case 'U8':
      return kind.includes('scale') ? put('too much', 1, (at) => (bytes[at] = pick(rng, [253, 254, 255]))) : undefined;
    case 'I32': {
      const group = pick(rng, [-1, 1000, 2 ** 31 - 1, -(2 ** 31)]);
      return kind === 'g_idx' ? put(`the group ${group}`, 4, (at) => view.setInt32(at, group, true)) : undefined;
    }
    case 'I64': {
      const by = pick(rng, [-1, 1, 8, 2 ** 40]);
      return put(`${by} more`, 8, (at) => view.setBigInt64(at, view.getBigInt64(at, true) + BigInt(by), true));
    }
    default:
      return undefined;
  }
}

/** A file of which the end is missing, so that its last tensor lies outside. */
function truncated(rng: Rng, { quantisation, tensors }: QuantisedCase, used: [string, StoredTensor][]): Mutation {
  const last = pick(rng, used);
  const whole = serialise(new Map([...[...tensors].filter(([name]) => name !== last[0]), last]));
  const missing = 1 + Math.floor(rng() * last[1].bytes.byteLength);
  const bytes = whole.subarray(0, whole.byteLength - missing);
  return { what: `${missing} bytes of ${last[0]} are missing`, bytes, quantisation, names: [last[0]] };
}

/** A tensor that changes the weights in a way that the format doesn't have. */
function withExtra(rng: Rng, { name, tensors, quantisation }: QuantisedCase): Mutation {
  const extra = `${name}.${pick(rng, ['pre_quant_scale', 'weight_scale_3', 'bias', 'weight.absmax', 'lora_a', 'perm'])}`;
  const bytes = serialise(new Map([...tensors, [extra, { dtype: 'F32', shape: [1], bytes: new Uint8Array(4) }]]));
  return { what: `${extra} is there too`, bytes, quantisation, names: [extra] };
}

/** A config that says other than what is stored. */
function reconfigured(rng: Rng, one: QuantisedCase): Mutation | undefined {
  const config = structuredClone(one.quantisation);
  const { weights } = ((config['config_groups'] as Record<string, { weights?: Record<string, unknown> }>)?.[
    'group_0'
  ] ?? {}) as { weights?: Record<string, unknown> };
  const settings = weights ?? config;
  const size = pick(rng, [1, 2, 8, 3, 5, 24, 48, 7, 64, 4096]);
  const change = pick<[string, () => void] | undefined>(rng, [
    ['no quantization_config', () => {}],
    [`groups of ${size}`, () => (settings['group_size'] = size)],
    [`blocks of ${size}`, () => (settings[weights ? 'block_structure' : 'weight_block_size'] = [size, size])],
    [`${size} bits`, () => (settings[weights ? 'num_bits' : 'bits'] = size)],
    [
      'another method',
      () => (config['quant_method'] = pick(rng, ['bitsandbytes', 'hqq', 'aqlm', 'eetq', 'quanto', ''])),
    ],
    ['another algorithm', () => (config['quant_algo'] = pick(rng, ['NVFP4_AWQ', 'W4A16_AWQ', 'W8A16']))],
    [
      'the module as plain',
      () => (config[config['quant_method'] === 'fp8' ? 'modules_to_not_convert' : 'ignore'] = [one.name]),
    ],
    ['a key that nobody knows', () => (config[`rotation_${size}`] = 'hadamard')],
    ['another layout', () => (config['format'] = 'marlin-24')],
  ])!;
  const [what, apply] = change;
  apply();
  if (JSON.stringify(config) === JSON.stringify(one.quantisation) && what !== 'no quantization_config')
    return undefined;
  const quantisation = what === 'no quantization_config' ? undefined : config;
  return {
    what: `config says ${what}`,
    bytes: serialise(one.tensors),
    quantisation,
    names: [one.name, 'quantization_config'],
  };
}

/** As a whole model is read: its config, its tables, and every row. */
async function readAll({ bytes, quantisation }: Mutation, one: QuantisedCase): Promise<void> {
  const checkpoint = quantisedCheckpoint(bytes, quantisation);
  const specs = specsOf(one);
  checkpoint.check(specs);
  for (const spec of specs) await checkpoint.read(spec);
}

/** Changes that say the same, or something that the format allows. */
function isHarmless({ what }: Mutation, { name, quantisation }: QuantisedCase): boolean {
  if (/g_idx is missing/.test(what)) return quantisation['desc_act'] !== true;
  if (/config says (groups|blocks)/.test(what)) {
    // Formats without such a size do not read it.
    return /groups/.test(what)
      ? !/^(int4-(groups|asym)|int8-packed|gptq|awq|nvfp4|mxfp4-packed)/.test(name)
      : !/block/.test(name);
  }
  if (/config says \d+ bits/.test(what)) return false;
  return false;
}

describe('a damaged quantised checkpoint', () => {
  it.each(
    [
      'fp8-blocks-bf16-scales',
      'fp8-static',
      'fp8-channel',
      'int4-groups-of-32',
      'int4-asymmetric',
      'int8-channel',
      'nvfp4-packed',
      'nvfp4-modelopt',
      'mxfp4-packed',
      'mxfp4-blocks',
      'gptq-reordered',
      'gptq-asymmetric',
      'awq',
    ].map((name) => [name, cases.find((one) => one.name === name)!] as const),
  )(`of %s is refused by file and tensor in ${MUTATIONS} ways`, async (_, one) => {
    const rng = createRng(cases.indexOf(one));
    await readAll({ what: '', bytes: serialise(one.tensors), quantisation: one.quantisation, names: [] }, one);
    const failures: string[] = [];
    for (let done = 0; done < MUTATIONS;) {
      const mutation = mutate(rng, one);
      if (!mutation || isHarmless(mutation, one)) continue;
      done++;
      const error = await Promise.resolve()
        .then(() => readAll(mutation, one))
        .catch((error: unknown) => error);
      const isOfData = error instanceof CheckpointError && /model\.safetensors|here/.test(error.message);
      const isOfConfig = error instanceof ModelError && error.message.startsWith('config.json: quantization_config');
      const isNamed = mutation.names.some((name) => String(error).includes(name));
      if (!(isOfData || isOfConfig) || !isNamed) failures.push(`${mutation.what}: ${String(error)}`);
    }
    expect(failures).toEqual([]);
  });

  it.each(cases.filter(({ name }) => /^(int|gptq|awq)/.test(name)))(
    'of $name is refused where scales are finite and weights are not',
    async (one) => {
      const tensors = [...one.tensors].map(([name, tensor]): [string, StoredTensor] => {
        const bytes = new Uint8Array(new Float32Array(tensor.shape.reduce((a, b) => a * b, 1)).fill(3e38).buffer);
        return [
          name,
          /scales?$/.test(name) && !OF_ACTIVATIONS.test(name) ? { ...tensor, dtype: 'F32', bytes } : tensor,
        ];
      });
      const mutation = { what: '', bytes: serialise(new Map(tensors)), quantisation: one.quantisation, names: [] };
      await expect(readAll(mutation, one)).rejects.toMatchObject({
        reason: 'not-finite',
        message: expect.stringMatching(
          /model\.safetensors.*weight.* the value at \[\d+, \d+\] is -?Infinity/,
        ) as string,
      });
    },
  );
});
