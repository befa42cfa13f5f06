import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ModelError } from '../errors.ts';
import { readModelConfig } from '../read-model-config.ts';
import { smallConfigJson } from '../testing/small-model.ts';
import { readQuantisation } from './quantisation-keys.ts';

const weights = { num_bits: 4, type: 'int', symmetric: true, strategy: 'group', group_size: 32, dynamic: false };
const groups = (...all: object[]) =>
  Object.fromEntries(all.map((group, i) => [`group_${i}`, { targets: ['Linear'], ...group }]));
const ct = (format: string, ...all: object[]) => ({
  quant_method: 'compressed-tensors',
  format,
  config_groups: groups(...all),
});
const fp4 = { num_bits: 4, type: 'float', strategy: 'tensor_group', group_size: 16, symmetric: true };
const fp8 = { num_bits: 8, type: 'float', strategy: 'channel', symmetric: true };

describe('readQuantisation', () => {
  // The keys are those of published models.
  it.each([
    [
      'MiniMax-M2.5',
      {
        quant_method: 'fp8',
        fmt: 'float8_e4m3fn',
        activation_scheme: 'dynamic',
        weight_block_size: [128, 128],
        modules_to_not_convert: ['gate', 'lm_head'],
      },
      [{ kind: 'fp8', scales: [128, 128] }],
    ],
    [
      'FP8 per tensor',
      { quant_method: 'fp8', activation_scheme: 'static', weight_block_size: null, dequantize: false },
      [{ kind: 'fp8', scales: 'tensor' }],
    ],
    [
      'Kimi-K2-Thinking',
      {
        ...ct('pack-quantized', {
          input_activations: null,
          output_activations: null,
          weights: { ...weights, actorder: null, block_structure: null, observer: 'minmax', observer_kwargs: {} },
        }),
        ignore: ['lm_head', 're:.*self_attn.*', 're:.*shared_experts.*'],
        kv_cache_scheme: null,
        global_compression_ratio: null,
        quantization_status: 'compressed',
      },
      [{ kind: 'packed-int', bits: 4, groupSize: 32, symmetric: true, reordered: false }],
    ],
    [
      'Kimi-K3',
      {
        ...ct('mxfp4-pack-quantized', {
          format: 'mxfp4-pack-quantized',
          weights: { ...weights, type: 'float', scale_dtype: 'torch.uint8', zp_dtype: null },
        }),
      },
      [{ kind: 'mxfp4', stored: 'packed' }],
    ],
    [
      'several formats',
      ct(
        'mixed-precision',
        { format: 'float-quantized', weights: fp8 },
        { format: 'nvfp4-pack-quantized', weights: fp4 },
      ),
      [
        { kind: 'fp8', scales: 'row' },
        { kind: 'nvfp4', globalScale: 'divides' },
      ],
    ],
    ['only a KV cache', { ...ct('pack-quantized'), kv_cache_scheme: { num_bits: 8, type: 'float' } }, []],
    [
      'ModelOpt without quant_method',
      {
        config_groups: groups({ weights: { num_bits: 8 } }),
        ignore: ['lm_head'],
        quant_algo: 'FP8',
        kv_cache_scheme: 'FP8',
        producer: { name: 'modelopt' },
      },
      [{ kind: 'fp8', scales: 'tensor' }],
    ],
    [
      'NVFP4',
      { config_groups: groups({ weights: fp4 }), ignore: ['lm_head'], quant_algo: 'NVFP4', quant_method: 'modelopt' },
      [{ kind: 'nvfp4', globalScale: 'multiplies' }],
    ],
    [
      'mixed precision',
      {
        quant_method: 'modelopt',
        quant_algo: 'MIXED_PRECISION',
        quantized_layers: {
          a: { quant_algo: 'FP8' },
          b: { quant_algo: 'NVFP4', group_size: 16 },
          c: { quant_algo: 'FP8' },
        },
      },
      [
        { kind: 'fp8', scales: 'tensor' },
        { kind: 'nvfp4', globalScale: 'multiplies' },
      ],
    ],
    [
      'gpt-oss',
      { quant_method: 'mxfp4', modules_to_not_convert: ['model.layers.*.self_attn', 'lm_head'] },
      [{ kind: 'mxfp4', stored: 'blocks' }],
    ],
    [
      'GPTQ',
      {
        quant_method: 'gptq',
        bits: 4,
        group_size: 128,
        desc_act: true,
        sym: true,
        damp_percent: 0.1,
        true_sequential: true,
        model_name_or_path: null,
        dynamic: { '-:.*mlp\\.gate': {} },
      },
      [{ kind: 'gptq', bits: 4, groupSize: 128, zeroOffset: 1, reordered: true }],
    ],
    [
      'AWQ',
      {
        quant_method: 'awq',
        bits: 4,
        group_size: 128,
        version: 'gemm',
        zero_point: true,
        modules_to_not_convert: ['gate'],
      },
      [{ kind: 'awq', groupSize: 128 }],
    ],
  ])('knows the formats of %s', (_, config, formats) => {
    expect(readQuantisation(config, 'config.json')?.formats).toEqual(formats);
  });

  it.each([
    ['bitsandbytes', { quant_method: 'bitsandbytes', load_in_4bit: true }],
    ['"hqq"', { quant_method: 'hqq' }],
    ['"aqlm"', { quant_method: 'aqlm' }],
    ['"eetq"', { quant_method: 'eetq' }],
    ['undefined', { bits: 4 }],
    ['fmt', { quant_method: 'fp8', fmt: 'e5m2', weight_block_size: [128, 128] }],
    ['expert_dtype', { quant_method: 'fp8', expert_dtype: 'fp4', weight_block_size: [128, 128] }],
    ['marlin-24', ct('marlin-24', { weights })],
    ['int weights by tensor_group', ct('pack-quantized', { weights: { ...weights, strategy: 'tensor_group' } })],
    ['3-bit', ct('pack-quantized', { weights: { ...weights, num_bits: 3 } })],
    ['transform_config', { ...ct('pack-quantized', { weights }), transform_config: { config_groups: { R1: {} } } }],
    ['sparsity_config', { ...ct('pack-quantized', { weights }), sparsity_config: { format: 'sparse-24-bitmask' } }],
    ['NVFP4_AWQ', { quant_method: 'modelopt', quant_algo: 'NVFP4_AWQ' }],
    ['pre_quant_scale', { quant_method: 'modelopt', quant_algo: 'NVFP4', pre_quant_scale: true }],
    ['group_size', { quant_method: 'modelopt', quant_algo: 'NVFP4', group_size: 32 }],
    ['quantized_layers', { quant_method: 'modelopt', quant_algo: 'MIXED_PRECISION' }],
    ['bits', { quant_method: 'gptq', bits: 3, group_size: 128 }],
    ['dynamic', { quant_method: 'gptq', bits: 4, group_size: 128, dynamic: { '.*down.*': { bits: 8 } } }],
    ['adapter', { quant_method: 'gptq', bits: 4, group_size: 128, adapter: { name: 'lora' } }],
    ['version', { quant_method: 'awq', bits: 4, group_size: 128, version: 'gemv' }],
    ['not an object', [1]],
  ])('refuses %s by name', (named, config) => {
    let error: unknown;
    try {
      readQuantisation(config, 'there/config.json');
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ModelError);
    expect((error as ModelError).key).toBe('quantization_config');
    expect(String(error)).toContain('there/config.json: quantization_config');
    expect(String(error)).toContain(named);
  });
});

describe('readModelConfig', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'shoal-quant-config-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  async function read(config: object, quantization?: object) {
    await writeFile(join(dir, 'config.json'), JSON.stringify({ ...smallConfigJson, ...config }));
    if (quantization) await writeFile(join(dir, 'hf_quant_config.json'), JSON.stringify(quantization));
    return readModelConfig(join(dir, 'config.json'));
  }

  it('reads what only hf_quant_config.json says', async () => {
    expect((await read({})).quantisation).toBeNull();
    const quantization = {
      quant_algo: 'NVFP4',
      kv_cache_quant_algo: 'FP8',
      group_size: 16,
      exclude_modules: ['lm_head'],
    };
    const { quantisation } = await read({}, { producer: { name: 'modelopt', version: '0.29.0' }, quantization });
    expect(quantisation).toEqual({
      method: 'ModelOpt NVFP4',
      formats: [{ kind: 'nvfp4', globalScale: 'multiplies' }],
      plainModules: ['lm_head'],
    });
  });

  it('refuses an algorithm that it does not read, and two files that differ', async () => {
    await expect(read({}, { quantization: { quant_algo: 'W4A16_AWQ', group_size: 128 } })).rejects.toMatchObject({
      reason: 'unsupported',
      message: expect.stringContaining('W4A16_AWQ'),
    });
    const config = { quantization_config: { quant_method: 'modelopt', quant_algo: 'FP8' } };
    await expect(read(config, { quantization: { quant_algo: 'NVFP4' } })).rejects.toMatchObject({
      reason: 'contradiction',
      message: expect.stringContaining('hf_quant_config.json'),
    });
    await expect(read(config, {})).rejects.toMatchObject({ reason: 'bad-value' });
  });

  it('takes a quantised KV cache alone as no quantisation of weights', async () => {
    expect(
      (await read({}, { quantization: { quant_algo: null, kv_cache_quant_algo: 'FP8' } })).quantisation,
    ).toBeNull();
  });
});
