import { z } from 'zod';
import { ModelError } from '../errors.ts';
import { dimension, unsupported } from './family.ts';

/** Keys that do not change the weights' values, as how another program quantises activations, are accepted and not used. */
const schema = z.strictObject({
  quant_method: z.literal('fp8'),
  fmt: z.literal('e4m3').optional(),
  weight_block_size: z.tuple([dimension, dimension]),
  activation_scheme: z.string().optional(),
  scale_fmt: z.string().nullish(),
  dequantize: z.boolean().optional(),
  modules_to_not_convert: z.array(z.string()).nullish(),
});

/**
 * The rows and columns that share a scale, from the `quantization_config` of an FP8 checkpoint (DeepSeek-V3's format); null
 * without one. Which tensors are FP8 follows from their dtype in the checkpoint.
 */
export function readFp8BlockSize(value: unknown, where: string): readonly [rows: number, columns: number] | null {
  const key = 'quantization_config';
  if (value === undefined || value === null) return null;
  const method = typeof value === 'object' && 'quant_method' in value ? value.quant_method : undefined;
  if (method !== 'fp8') {
    throw unsupported(
      where,
      key,
      `asks for quant_method ${JSON.stringify(method)}; this version reads "fp8" (e4m3 in blocks) and BF16, F16 and F32 ` +
        'weights: convert the checkpoint to BF16 first',
    );
  }
  // null is as if the key were absent.
  const keys = Object.entries(value as object).filter(([, one]) => one !== null);
  const parsed = schema.safeParse(Object.fromEntries(keys));
  if (parsed.success) return parsed.data.weight_block_size;
  const issue = parsed.error.issues[0]!;
  const path = [key, ...issue.path].join('.');
  const reason = issue.code === 'unrecognized_keys' || issue.code === 'invalid_value' ? 'unsupported' : 'bad-value';
  throw new ModelError(reason, key, `${where}: ${path}: ${issue.message}`);
}
