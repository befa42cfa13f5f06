import { z } from 'zod';
import { ModelError } from '../errors.ts';
import { NVFP4_BLOCK } from '../quantised/nvfp4.ts';
import type { Quantisation, WeightFormat } from '../quantised/quantisation.ts';
import { parseKeys, unsupported } from './quantisation-errors.ts';

const moduleList = z.array(z.string().max(1000)).max(1_000_000).optional();
const layerKeys = z.looseObject({ quant_algo: z.string(), group_size: z.number().optional() });

/** As in config.json, where names follow compressed-tensors, and as in hf_quant_config.json, whose lists have other names. */
const configKeys = z.strictObject({
  quant_method: z.string(),
  quant_algo: z.string(),
  group_size: z.number().optional(),
  ignore: moduleList,
  exclude_modules: moduleList,
  quantized_layers: z.record(z.string(), layerKeys).optional(),
  // The same again in compressed-tensors' words; activations and the KV cache are not quantised here.
  config_groups: z.record(z.string(), z.unknown()).optional(),
  kv_cache_scheme: z.unknown().optional(),
  kv_cache_quant_algo: z.unknown().optional(),
  producer: z.unknown().optional(),
  // With either of these, weights are multiples of what the model computes with.
  has_zero_point: z.literal(false).optional(),
  pre_quant_scale: z.literal(false).optional(),
});

const NVFP4: WeightFormat = { kind: 'nvfp4', globalScale: 'multiplies' };
const ALGORITHMS: Readonly<Record<string, WeightFormat>> = {
  FP8: { kind: 'fp8', scales: 'tensor' },
  FP8_PER_CHANNEL_PER_TOKEN: { kind: 'fp8', scales: 'row' },
  NVFP4,
  W4A16_NVFP4: NVFP4,
  W4A8_NVFP4_FP8: NVFP4,
  MXFP4: { kind: 'mxfp4', stored: 'weight' },
  W4A8_MXFP4_FP8: { kind: 'mxfp4', stored: 'weight' },
};

/** NVIDIA ModelOpt. */
export function modelopt(value: Record<string, unknown>, where: string): Quantisation {
  const keys = parseKeys(configKeys, value, where);
  const layers = Object.values(keys.quantized_layers ?? {});
  const algorithms = keys.quant_algo === 'MIXED_PRECISION' ? layers : [keys];
  if (algorithms.length === 0) {
    throw unsupported(
      where,
      'has the quant_algo MIXED_PRECISION without quantized_layers that say what each layer has',
    );
  }
  const formats = new Map(
    algorithms.map(({ quant_algo: algo, group_size: group }) => [algo, formatOf(algo, group, where)]),
  );
  return {
    method: `ModelOpt ${[...formats.keys()].join(' and ')}`,
    formats: [...new Set(formats.values())],
    plainModules: keys.ignore ?? keys.exclude_modules ?? [],
  };
}

function formatOf(algo: string, groupSize: number | undefined, where: string): WeightFormat {
  const format = Object.hasOwn(ALGORITHMS, algo) ? ALGORITHMS[algo]! : undefined;
  if (!format) {
    const known = Object.keys(ALGORITHMS).join(', ');
    throw unsupported(
      where,
      `has the quant_algo "${algo}"; this version reads ${known}: take the model in another format`,
    );
  }
  const expected = format.kind === 'nvfp4' ? NVFP4_BLOCK : format.kind === 'mxfp4' ? 32 : undefined;
  if (expected !== undefined && (groupSize ?? expected) !== expected) {
    throw unsupported(where, `has the group_size ${groupSize} for ${algo}, which has groups of ${expected}`);
  }
  return format;
}

const fileKeys = z.looseObject({ quantization: z.looseObject({ quant_algo: z.string().nullish() }) });

/**
 * A parsed config.json with what ModelOpt's hf_quant_config.json says of the weights, which older checkpoints have there only.
 * Throws a ModelError if both describe it and differ.
 */
export function withHfQuantConfig(
  config: Record<string, unknown>,
  file: unknown,
  where: string,
): Record<string, unknown> {
  const parsed = fileKeys.safeParse(file);
  if (!parsed.success) {
    const message = `${where}: has no quantization with a quant_algo: take the file from the model's own repository`;
    throw new ModelError('bad-value', 'quantization', message);
  }
  const { quantization } = parsed.data;
  const stated = statedIn(config);
  if (stated) {
    const algo = stated['quant_algo'];
    if (algo === undefined || algo === quantization.quant_algo) return config;
    const message = `${where}: quant_algo is ${JSON.stringify(quantization.quant_algo)}, but config.json has ${JSON.stringify(algo)}`;
    throw new ModelError('contradiction', 'quant_algo', message);
  }
  // Without an algorithm only the KV cache is quantised.
  if (quantization.quant_algo === undefined || quantization.quant_algo === null) return config;
  return { ...config, quantization_config: { quant_method: 'modelopt', ...quantization } };
}

/** The `quantization_config` of a config.json, of which a text model's is a part in some. */
function statedIn(config: Record<string, unknown>): Record<string, unknown> | undefined {
  for (const part of [config, config['text_config']]) {
    const stated = (part as Record<string, unknown> | null | undefined)?.['quantization_config'];
    if (typeof stated === 'object' && stated !== null) return stated as Record<string, unknown>;
  }
  return undefined;
}
