import type { ExpertShape } from '@shoal/weights';
import { ExpertFfn } from '../wgsl/expert-ffn/expert-ffn.ts';
import { variantsFor, type FfnVariant } from '../wgsl/expert-ffn/variants.ts';

export async function chooseFfn(device: GPUDevice, shape: ExpertShape, variant?: FfnVariant): Promise<ExpertFfn> {
  if (variant) return ExpertFfn.compile(device, shape, variant);
  const variants = variantsFor(shape, {
    hasSubgroups: device.features.has('subgroups'),
    hasIntegerDot: await hasIntegerDot(device),
  });
  return ExpertFfn.compile(device, shape, variants.find((v) => v.loads === 'subgroup') ?? variants[0]!);
}

/** The language feature packed_4x8_integer_dot_product, asked of the compiler itself: an adapter by itself doesn't tell. */
export async function hasIntegerDot(device: GPUDevice): Promise<boolean> {
  device.pushErrorScope('validation');
  const code = 'fn probe(a: u32) -> i32 { return dot4I8Packed(a, pack4xI8(vec4(1))); }';
  const module = device.createShaderModule({ label: 'integer dot product probe', code });
  const [error] = await Promise.all([device.popErrorScope(), module.getCompilationInfo()]);
  return error === null;
}
