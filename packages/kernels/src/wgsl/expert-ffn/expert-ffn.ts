import { messageOf } from '@shoal/model';
import type { ExpertShape } from '@shoal/weights';
import { KernelError } from '../../backend.ts';
import { type FfnSize, partOffset, WIDE_TILE_ROWS, type LapItems } from './lap-items.ts';
import {
  constantsOf,
  INT8_STEP_VECS,
  MAX_DISPATCH,
  passSource,
  STEP_COLS,
  stepsOf,
  variantName,
  type FfnVariant,
  type PassName,
} from './variants.ts';

/** Invocations of a workgroup, the same as in the shaders. 64 is a whole number of subgroups on every GPU. */
const WORKGROUP_SIZE = 64;
const VEC_BYTES = 16;
const F32_BYTES = Float32Array.BYTES_PER_ELEMENT;
/** GPUShaderStage.COMPUTE, whose global is missing if the GPU comes from a Node addon. */
const GPU_COMPUTE_STAGE = 0x4;
/** Bindings of bindings.wgsl: slab twice, inputs, lap, parts (at an offset), outputs. */
const PARTS_BINDING = 4;
const OUTPUTS_BINDING = 5;
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
}

interface Pipelines {
  gateUp: { wide: GPUComputePipeline; narrow: GPUComputePipeline };
  down: { wide: GPUComputePipeline; narrow: GPUComputePipeline };
  combine: GPUComputePipeline;
  /** Undefined in f32. */
  quantise: GPUComputePipeline | undefined;
}

/** The passes of the expert FFN, compiled for one shape in one variant. */
export class ExpertFfn {
  readonly shape: ExpertShape;
  readonly variant: FfnVariant;
  /** Columns of a hidden row and of an activation row in the scratch buffers: whole steps. */
  readonly paddedHidden: number;
  readonly paddedIntermediate: number;
  readonly #device: GPUDevice;
  readonly #layout: GPUBindGroupLayout;
  readonly #pipelines: Pipelines;

  private constructor(
    device: GPUDevice,
    shape: ExpertShape,
    variant: FfnVariant,
    layout: GPUBindGroupLayout,
    pipelines: Pipelines,
  ) {
    this.#device = device;
    this.shape = shape;
    this.variant = variant;
    this.#layout = layout;
    this.#pipelines = pipelines;
    this.paddedHidden = stepsOf(shape.hiddenSize) * STEP_COLS;
    this.paddedIntermediate = stepsOf(shape.moeIntermediateSize) * STEP_COLS;
  }

  /** Throws KernelError `compile` with the compiler's messages. */
  static async compile(device: GPUDevice, shape: ExpertShape, variant: FfnVariant): Promise<ExpertFfn> {
    const layout = bindGroupLayout(device);
    const pipeline = pipelineFactory(device, shape, variant, layout);
    const [gateUpWide, gateUpNarrow, downWide, downNarrow, combine, quantise] = await Promise.all([
      pipeline('gate_up', WIDE_TILE_ROWS),
      pipeline('gate_up', 1),
      pipeline('down', WIDE_TILE_ROWS),
      pipeline('down', 1),
      pipeline('combine', 1),
      variant.arithmetic === 'int8' ? pipeline('quantise', 1) : undefined,
    ]);
    return new ExpertFfn(device, shape, variant, layout, {
      gateUp: { wide: gateUpWide, narrow: gateUpNarrow },
      down: { wide: downWide, narrow: downNarrow },
      combine,
      quantise,
    });
  }

  /** Bytes of each buffer of FfnBuffers but the items. */
  bufferBytes({ numRows, numAssignments }: FfnSize): Record<Exclude<keyof FfnBuffers, 'items'>, number> {
    const { hiddenSize } = this.shape;
    const planeBytes = (columns: number): number =>
      this.#pipelines.quantise ? (columns / STEP_COLS) * INT8_STEP_VECS * VEC_BYTES : 0;
    return {
      rows: numRows * this.paddedHidden * F32_BYTES,
      rowPlanes: numRows * planeBytes(this.paddedHidden),
      activations: numAssignments * this.paddedIntermediate * F32_BYTES,
      activationPlanes: numAssignments * planeBytes(this.paddedIntermediate),
      products: numAssignments * hiddenSize * F32_BYTES,
      partial: numRows * hiddenSize * F32_BYTES,
    };
  }

  /** Makes the bind groups, which hold their buffers and have to be renewed when a scratch buffer is replaced. */
  bind(slab: GPUBuffer, buffers: FfnBuffers): FfnBindings {
    const group = (inputs: GPUBuffer, outputs: GPUBuffer): GPUBindGroup =>
      this.#device.createBindGroup({
        layout: this.#layout,
        entries: [slab, slab, inputs, buffers.items, buffers.items, outputs].map((buffer, binding) => ({
          binding,
          resource: binding === PARTS_BINDING ? { buffer, size: PART_BYTES } : { buffer },
        })),
      });
    const { rows, rowPlanes, activations, activationPlanes, products, partial } = buffers;
    const isQuantised = this.#pipelines.quantise !== undefined;
    return {
      quantiseRows: isQuantised ? group(rows, rowPlanes) : undefined,
      gateUp: group(isQuantised ? rowPlanes : rows, activations),
      quantiseActivations: isQuantised ? group(activations, activationPlanes) : undefined,
      down: group(isQuantised ? activationPlanes : activations, products),
      combine: group(products, partial),
    };
  }

  /** Encodes all dispatches of a lap. `bindingsOf` gives the bindings for a slab. */
  encode(
    encoder: GPUCommandEncoder,
    items: LapItems,
    bindingsOf: (slab: GPUBuffer) => FfnBindings,
    { numRows, numAssignments }: FfnSize,
  ): void {
    const { hiddenSize, moeIntermediateSize } = this.shape;
    const { gateUp, down, combine, quantise } = this.#pipelines;
    const pass = encoder.beginComputePass();
    const run = (pipeline: GPUComputePipeline, group: GPUBindGroup, part: number, threads: number, count: number) => {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group, [partOffset(part)]);
      const y = Math.min(count, MAX_DISPATCH);
      pass.dispatchWorkgroups(Math.ceil(threads / WORKGROUP_SIZE), y, Math.ceil(count / MAX_DISPATCH));
    };
    const tiles = (pipelines: Pipelines['gateUp'], name: 'gateUp' | 'down', threads: number): void => {
      for (const { slab, isWide, part, numTiles } of items.dispatches) {
        run(isWide ? pipelines.wide : pipelines.narrow, bindingsOf(slab)[name], part, threads, numTiles);
      }
    };
    const any = bindingsOf(items.dispatches[0]!.slab);
    const quantiseAll = (group: GPUBindGroup | undefined, part: number, steps: number): void => {
      if (quantise && group) run(quantise, group, part, WORKGROUP_SIZE, Math.ceil(steps / WORKGROUP_SIZE));
    };
    quantiseAll(any.quantiseRows, items.quantiseRowsPart, (numRows * this.paddedHidden) / STEP_COLS);
    tiles(gateUp, 'gateUp', moeIntermediateSize);
    const activationSteps = (numAssignments * this.paddedIntermediate) / STEP_COLS;
    quantiseAll(any.quantiseActivations, items.quantiseActivationsPart, activationSteps);
    tiles(down, 'down', hiddenSize);
    run(combine, any.combine, items.combinePart, hiddenSize, numRows);
    pass.end();
  }
}

export interface FfnBindings {
  quantiseRows: GPUBindGroup | undefined;
  gateUp: GPUBindGroup;
  quantiseActivations: GPUBindGroup | undefined;
  down: GPUBindGroup;
  combine: GPUBindGroup;
}

function bindGroupLayout(device: GPUDevice): GPUBindGroupLayout {
  return device.createBindGroupLayout({
    entries: Array.from({ length: OUTPUTS_BINDING + 1 }, (_, binding) => ({
      binding,
      visibility: GPU_COMPUTE_STAGE,
      buffer: {
        type: binding === OUTPUTS_BINDING ? 'storage' : 'read-only-storage',
        hasDynamicOffset: binding === PARTS_BINDING,
      },
    })),
  });
}

type PipelineFactory = (pass: PassName, tileRows: number) => Promise<GPUComputePipeline>;

function pipelineFactory(
  device: GPUDevice,
  shape: ExpertShape,
  variant: FfnVariant,
  layout: GPUBindGroupLayout,
): PipelineFactory {
  const pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [layout] });
  const constants = constantsOf(shape);
  return async (pass, tileRows) => {
    const label = `${pass} ${shape.quant} (${variantName(variant)}, ${tileRows} rows)`;
    // Errors are reported with the compilation's messages, and must not count as errors of the device.
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label, code: passSource(pass, shape, variant, tileRows) });
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
