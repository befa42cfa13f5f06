import { messageOf } from '@shoal/model';
import type { ExpertShape } from '@shoal/weights';
import { KernelError } from '../../backend.ts';
import { constantsOf, type FfnVariant, type PassName, passSource, variantName } from './variants.ts';

/** Invocations of a workgroup, the same as in the shaders. 64 is a whole number of subgroups on every GPU. */
export const WORKGROUP_SIZE = 64;
/** GPUShaderStage.COMPUTE, whose global is missing if the GPU comes from a Node addon. */
export const GPU_COMPUTE_STAGE = 0x4;
/** Bindings of bindings.wgsl: slab twice, inputs, lap, parts (at an offset), outputs. */
export const PARTS_BINDING = 4;
export const OUTPUTS_BINDING = 5;
const PART_BYTES = 16;

/** The buffers of one submit besides the slabs. */
export interface FfnBuffers {
  /** f32 [numRows, paddedHidden] */
  rows: GPUBuffer;
  /** The same, quantised for arithmetic-int8.wgsl; unused in f32. */
  rowPlanes: GPUBuffer;
  /** LapItems */
  items: GPUBuffer;
  /** f32 [numAssignments, paddedIntermediate], by place */
  activations: GPUBuffer;
  activationPlanes: GPUBuffer;
  /** f32 [numAssignments, hiddenSize], by place */
  products: GPUBuffer;
  /** f32 [numRows, hiddenSize] */
  partial: GPUBuffer;
  /** Of laps with adapters alone (adapters.wgsl): AdapterItems, A x of each entry, and what is added to gate and up. */
  adapterItems: GPUBuffer;
  inner: GPUBuffer;
  deltas: GPUBuffer;
}

/** Entries of bindings.wgsl. */
export function ffnEntries(
  slab: GPUBuffer,
  inputs: GPUBuffer,
  items: GPUBuffer,
  outputs: GPUBuffer,
): GPUBindGroupEntry[] {
  return [slab, slab, inputs, items, items, outputs].map((buffer, binding) => ({
    binding,
    resource: binding === PARTS_BINDING ? { buffer, size: PART_BYTES } : { buffer },
  }));
}

export type PipelineFactory = (pass: PassName, tileRows: number, adapted?: boolean) => Promise<GPUComputePipeline>;

export function pipelineFactory(
  device: GPUDevice,
  shape: ExpertShape,
  variant: FfnVariant,
  layout: GPUBindGroupLayout,
): PipelineFactory {
  const pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [layout] });
  return async (pass, tileRows, adapted) => {
    const constants = constantsOf(shape, pass);
    const label = `${pass} ${shape.quant} (${variantName(variant)}, ${tileRows} rows)`;
    // Errors are reported with the compilation's messages, and must not count as errors of the device.
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label, code: passSource(pass, shape, variant, tileRows, adapted) });
    await Promise.all([refuseErrors(module, label), device.popErrorScope()]);
    try {
      const compute = { module, entryPoint: pass, constants };
      return await device.createComputePipelineAsync({ label, layout: pipelineLayout, compute });
    } catch (cause) {
      throw new KernelError('compile', `pipeline ${label} was rejected: ${messageOf(cause)}`, { cause });
    }
  };
}

async function refuseErrors(module: GPUShaderModule, name: string): Promise<void> {
  const { messages } = await module.getCompilationInfo();
  const errors = messages.filter((message) => message.type === 'error');
  if (errors.length === 0) return;
  const lines = errors.map((message) => `${message.lineNum}:${message.linePos} ${message.message}`);
  throw new KernelError('compile', `shader ${name} does not compile: ${lines.join('; ')}`);
}
