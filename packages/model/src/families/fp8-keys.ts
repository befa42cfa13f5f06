import { unsupported } from './family.ts';

/** `quantization_config` of an FP8 checkpoint → rows and columns of a scale's block; null where there is none. */
export function readFp8BlockSize(value: unknown, where: string): readonly [number, number] | null {
  if (value === undefined || value === null) return null;
  throw unsupported(
    where,
    'quantization_config',
    'is set; this version reads BF16, F16 and F32 weights: convert the checkpoint to BF16 first',
  );
}
