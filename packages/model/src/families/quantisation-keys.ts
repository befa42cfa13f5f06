import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { Quantisation, WeightFormat } from '../quantised/quantisation.ts';
import { compressedTensors } from './compressed-tensors-keys.ts';
import { modelopt } from './modelopt-keys.ts';
import { parseKeys, QUANTISATION_KEY as KEY, type QuantisationReader, unsupported } from './quantisation-errors.ts';

const size = z
  .int()
  .min(1)
  .max(1 << 20);
/** GPTQ's and AWQ's sign for one group of all columns is −1. */
const groupSizeOrAll = z.union([z.literal(-1), size]);
const moduleList = z.array(z.string().max(1000)).max(1_000_000).nullish();

/** Keys that say how another program runs the model or how it was quantised; the weights' values don't depend on them. */
const withoutEffect = {
  quant_method: z.string(),
  activation_scheme: z.string().optional(),
  kv_cache_scheme: z.unknown().optional(),
  kv_cache_quant_method: z.unknown().optional(),
  dequantize: z.boolean().optional(),
  modules_to_not_convert: moduleList,
};

const fp8Keys = z.strictObject({
  ...withoutEffect,
  fmt: z.enum(['e4m3', 'float8_e4m3fn']).optional(),
  weight_block_size: z.tuple([size, size]).optional(),
  scale_fmt: z.string().optional(),
  modules_to_convert: moduleList,
  // MiniMax's name for modules_to_not_convert.
  ignored_layers: moduleList,
  expert_dtype: z.literal('fp8').optional(),
});

/** transformers' and DeepSeek's: in blocks, or with one scale for a tensor where no block size is given. */
const fp8: QuantisationReader = (value, where) => {
  const keys = parseKeys(fp8Keys, value, where);
  return {
    method: 'FP8',
    formats: [{ kind: 'fp8', scales: keys.weight_block_size ?? 'tensor' }],
    plainModules: keys.modules_to_not_convert ?? keys.ignored_layers ?? [],
  };
};

const fbgemmKeys = z.strictObject({ ...withoutEffect, activation_scale_ub: z.number().optional() });

const fbgemm: QuantisationReader = (value, where) => {
  const keys = parseKeys(fbgemmKeys, value, where);
  return {
    method: 'FBGEMM FP8',
    formats: [{ kind: 'fp8', scales: 'row' }],
    plainModules: keys.modules_to_not_convert ?? [],
  };
};

const mxfp4: QuantisationReader = (value, where) => {
  const keys = parseKeys(z.strictObject(withoutEffect), value, where);
  return {
    method: 'MXFP4',
    formats: [{ kind: 'mxfp4', stored: 'blocks' }],
    plainModules: keys.modules_to_not_convert ?? [],
  };
};

/** Settings of the quantiser and of programs that run the model, as GPTQ's and AWQ's tools write them. */
const TOOL_KEYS = [
  'act_group_aware',
  'amp',
  'autoround_version',
  'batch_size',
  'block_name_to_quantize',
  'cache_block_outputs',
  'damp_auto_increment',
  'damp_percent',
  'data_type',
  'dataset',
  'disable_exllama',
  'do_fuse',
  'enable_minmax_tuning',
  'enable_quanted_input',
  'exllama_config',
  'fuse_max_seq_len',
  'gptaq',
  'gradient_accumulate_steps',
  'iters',
  'lm_head',
  'low_gpu_mem_usage',
  'lr',
  'max_input_length',
  'meta',
  'method',
  'minmax_lr',
  'model_file_base_name',
  'model_name_or_path',
  'model_seqlen',
  'module_name_preceding_first_block',
  'modules_in_block_to_quantize',
  'modules_to_fuse',
  'mse',
  'nsamples',
  'pad_token_id',
  'provider',
  'quant_method',
  'quantizer',
  'scale_dtype',
  'seqlen',
  'static_groups',
  'sym',
  'tokenizer',
  'true_sequential',
  'use_cuda_fp16',
  'use_exllama',
  'zero_point',
];
const toolKeys = Object.fromEntries(TOOL_KEYS.map((key) => [key, z.unknown().optional()]));

/** Settings of some modules by a pattern; "-:" before it leaves them plain, which shows in what is stored. */
const dynamic = z
  .record(z.string(), z.record(z.string(), z.unknown()))
  .refine(
    (rules) => Object.entries(rules).every(([pattern, rule]) => pattern.startsWith('-:') || isWithoutEffect(rule)),
    'gives some modules other bits or groups, and one size for all modules is read',
  );
const isWithoutEffect = (rule: Record<string, unknown>): boolean =>
  Object.keys(rule).every((key) => TOOL_KEYS.includes(key));

const gptqKeys = z.strictObject({
  ...toolKeys,
  bits: z.literal([2, 4, 8]),
  group_size: groupSizeOrAll,
  desc_act: z.boolean().default(false),
  checkpoint_format: z.enum(['gptq', 'gptq_v2']).optional(),
  format: z.enum(['gptq', 'gptq_v2']).optional(),
  backend: z.unknown().optional(),
  pack_dtype: z.literal('int32').optional(),
  is_marlin_format: z.literal(false).optional(),
  dynamic: dynamic.optional(),
});

const gptq: QuantisationReader = (value, where) => {
  const keys = parseKeys(gptqKeys, value, where);
  const zeroOffset = (keys.checkpoint_format ?? keys.format) === 'gptq_v2' ? 0 : 1;
  const groupSize = keys.group_size === -1 ? null : keys.group_size;
  const format: WeightFormat = { kind: 'gptq', bits: keys.bits, groupSize, zeroOffset, reordered: keys.desc_act };
  return { method: 'GPTQ', formats: [format], plainModules: [] };
};

const gemm = z.string().regex(/^gemm$/i, 'only the layout "gemm" is read');

const awqKeys = z.strictObject({
  ...toolKeys,
  bits: z.literal(4),
  group_size: groupSizeOrAll,
  version: gemm.optional(),
  format: gemm.optional(),
  checkpoint_format: gemm.optional(),
  desc_act: z.literal(false).optional(),
  pack_dtype: z.literal('int32').optional(),
  backend: z
    .string()
    .refine((backend) => backend !== 'llm-awq', 'llm-awq has another layout')
    .optional(),
  // Its names are of any part of a module's name, which decides nothing: what is stored does.
  modules_to_not_convert: moduleList,
  dynamic: dynamic.optional(),
});

const awq: QuantisationReader = (value, where) => {
  const keys = parseKeys(awqKeys, value, where);
  const groupSize = keys.group_size === -1 ? null : keys.group_size;
  return { method: 'AWQ', formats: [{ kind: 'awq', groupSize }], plainModules: [] };
};

const READERS: ReadonlyMap<string, QuantisationReader> = new Map([
  ['fp8', fp8],
  ['fbgemm_fp8', fbgemm],
  ['mxfp4', mxfp4],
  ['gptq', gptq],
  ['awq', awq],
  ['compressed-tensors', compressedTensors],
  ['modelopt', modelopt],
]);

/** How a checkpoint's weights are quantised, from the `quantization_config` of its config.json; null if they aren't. */
export function readQuantisation(value: unknown, where: string): Quantisation | null {
  if (value === undefined || value === null) return null;
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new ModelError('bad-value', KEY, `${where}: ${KEY} is not an object`);
  }
  const keys = withoutNulls(value as Record<string, unknown>);
  // modelopt left quant_method out of config.json at first.
  const method = keys['quant_method'] ?? ('quant_algo' in keys ? 'modelopt' : undefined);
  const reader = READERS.get(String(method).toLowerCase());
  if (reader) return reader({ ...keys, quant_method: method }, where);
  throw unsupported(
    where,
    `asks for quant_method ${JSON.stringify(method)}; this version reads ${[...READERS.keys()].join(', ')} and weights in BF16, ` +
      'F16 and F32: take the model in one of these, or dequantise it with the library that made it and save it in BF16',
  );
}

/** null is as if the key were absent. */
function withoutNulls(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== null));
}
