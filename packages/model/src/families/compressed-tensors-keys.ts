import { z } from 'zod';
import type { Quantisation, WeightFormat } from '../quantised/quantisation.ts';
import { parseKeys, unsupported } from './quantisation-errors.ts';

const size = z
  .int()
  .min(1)
  .max(1 << 20);

/** How weights of a group of modules are quantised (`QuantizationArgs`). */
const weightKeys = z.object({
  num_bits: z.int(),
  type: z.enum(['int', 'float']),
  symmetric: z.boolean().default(true),
  strategy: z.enum(['tensor', 'channel', 'group', 'block', 'tensor_group']).nullish(),
  group_size: z.union([z.literal(-1), size]).nullish(),
  block_structure: z.union([z.tuple([size, size]), z.string()]).nullish(),
  dynamic: z.literal(false).default(false),
  actorder: z.union([z.string(), z.boolean()]).nullish(),
});
type WeightKeys = z.infer<typeof weightKeys>;

const groupKeys = z.object({ weights: z.unknown().optional(), format: z.string().nullish() });

const configKeys = z.strictObject({
  quant_method: z.string(),
  config_groups: z.record(z.string(), groupKeys),
  format: z.string().optional(),
  ignore: z.array(z.string().max(1000)).max(1_000_000).optional(),
  quantization_status: z.string().optional(),
  kv_cache_scheme: z.unknown().optional(),
  global_compression_ratio: z.unknown().optional(),
  version: z.string().optional(),
  sparsity_config: z.looseObject({ format: z.literal('dense').optional() }).optional(),
  // Rotations of weights and activations, some of which are applied while the model runs.
  transform_config: z.strictObject({ config_groups: z.strictObject({}).optional() }).optional(),
});

/** compressed-tensors (llm-compressor, vLLM; Kimi-K2-Thinking and -K2.5). */
export function compressedTensors(value: Record<string, unknown>, where: string): Quantisation {
  const keys = parseKeys(configKeys, value, where);
  const formats = Object.entries(keys.config_groups).flatMap(([name, group]) => {
    if (group.weights === undefined || group.weights === null) return [];
    const below = `config_groups.${name}.weights`;
    const weights = parseKeys(weightKeys, group.weights, where, below);
    const format = group.format ?? keys.format;
    const isOther = format !== keys.format && keys.format !== undefined && keys.format !== 'mixed-precision';
    const known = isOther ? undefined : formatOf(format, weights);
    if (known) return [known];
    const { num_bits: bits, type, strategy } = weights;
    const what = `${bits}-bit ${type} weights by ${strategy ?? 'tensor'} as "${format ?? ''}"`;
    const remedy = 'take the model in another format, or decompress it with the compressed-tensors library';
    throw unsupported(where, `has ${what} in config_groups.${name}, which this version doesn't read: ${remedy}`);
  });
  return { method: 'compressed-tensors', formats, plainModules: keys.ignore ?? [] };
}

function formatOf(format: string | undefined, weights: WeightKeys): WeightFormat | undefined {
  const { num_bits: bits, type, symmetric, actorder } = weights;
  const columns = columnsOf(weights);
  switch (format) {
    case 'pack-quantized':
      if (type !== 'int' || (bits !== 4 && bits !== 8) || columns === undefined) return undefined;
      return {
        kind: 'packed-int',
        bits,
        groupSize: columns,
        symmetric,
        reordered: actorder === 'group' || actorder === true,
      };
    case 'nvfp4-pack-quantized':
      return bits === 4 && weights.group_size === 16 ? { kind: 'nvfp4', globalScale: 'divides' } : undefined;
    case 'mxfp4-pack-quantized':
      return bits === 4 && weights.group_size === 32 ? { kind: 'mxfp4', stored: 'packed' } : undefined;
    case 'int-quantized':
    case 'float-quantized':
    case 'naive-quantized':
      if (bits !== 8 || (actorder !== undefined && actorder !== null && actorder !== 'weight' && actorder !== false))
        return undefined;
      return type === 'int' ? int8(weights) : fp8(weights);
    default:
      return undefined;
  }
}

/** Columns of a row that share a scale, null for a whole row; undefined if scales are of something else. */
function columnsOf({ strategy, group_size: groupSize }: WeightKeys): number | null | undefined {
  if (strategy === 'channel' || (strategy === 'group' && groupSize === -1)) return null;
  const isGroup = strategy === 'group' || strategy === undefined || strategy === null;
  return isGroup && typeof groupSize === 'number' && groupSize > 0 ? groupSize : undefined;
}

function int8(weights: WeightKeys): WeightFormat | undefined {
  const { symmetric, strategy } = weights;
  const columns = columnsOf(weights);
  if (columns !== undefined) return { kind: 'int8', scales: columns ?? 'row', symmetric };
  return strategy === 'block' ? undefined : { kind: 'int8', scales: 'tensor', symmetric };
}

function fp8(weights: WeightKeys): WeightFormat | undefined {
  const { strategy, symmetric, block_structure: block } = weights;
  if (!symmetric || strategy === 'group' || strategy === 'tensor_group') return undefined;
  if (strategy === 'channel') return { kind: 'fp8', scales: 'row' };
  if (strategy !== 'block') return { kind: 'fp8', scales: 'tensor' };
  const sizes = typeof block === 'string' ? /^(\d+)x(\d+)$/.exec(block)?.slice(1).map(Number) : block;
  return sizes?.length === 2 ? { kind: 'fp8', scales: [sizes[0]!, sizes[1]!] } : undefined;
}
