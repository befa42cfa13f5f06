import type { ExpertShape } from '@shoal/weights';
import type { AdapterItems } from './adapter-items.ts';
import type { AdapterBindings, AdapterPasses } from './adapter-passes.ts';
import {
  type FfnBuffers,
  ffnEntries,
  GPU_COMPUTE_STAGE,
  OUTPUTS_BINDING,
  PARTS_BINDING,
  pipelineFactory,
  WORKGROUP_SIZE,
} from './ffn-pipelines.ts';
import { type FfnSize, partOffset, WIDE_TILE_ROWS, type LapItems } from './lap-items.ts';
import { INT8_STEP_VECS, MAX_DISPATCH, STEP_COLS, stepsOf, type FfnVariant } from './variants.ts';

export type { FfnBuffers } from './ffn-pipelines.ts';

const VEC_BYTES = 16;
const F32_BYTES = Float32Array.BYTES_PER_ELEMENT;
/** What a lap's adapters add, and the passes that compute it. */
export interface LapAdapters {
  passes: AdapterPasses;
  bindings: AdapterBindings;
  items: AdapterItems;
}

type AdapterBuffer = 'adapterItems' | 'inner' | 'deltas';

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

  /** Bytes of each buffer of FfnBuffers but the items and what adapters need. */
  bufferBytes({
    numRows,
    numAssignments,
  }: FfnSize): Record<Exclude<keyof FfnBuffers, 'items' | AdapterBuffer>, number> {
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
        entries: ffnEntries(slab, inputs, buffers.items, outputs),
      });
    const { rows, rowPlanes, activations, activationPlanes, products, partial } = buffers;
    const isQuantised = this.#pipelines.quantise !== undefined;
    return {
      quantiseRows: isQuantised ? group(rows, rowPlanes) : undefined,
      gateUp: group(this.inputs(buffers), activations),
      quantiseActivations: isQuantised ? group(activations, activationPlanes) : undefined,
      down: group(isQuantised ? activationPlanes : activations, products),
      combine: group(products, partial),
    };
  }

  /** What the tiles of gate and up read. */
  inputs({ rows, rowPlanes }: FfnBuffers): GPUBuffer {
    return this.#pipelines.quantise ? rowPlanes : rows;
  }

  /** Encodes all dispatches of a lap. `bindingsOf` gives the bindings for a slab. */
  encode(
    encoder: GPUCommandEncoder,
    items: LapItems,
    bindingsOf: (slab: GPUBuffer) => FfnBindings,
    { numRows, numAssignments }: FfnSize,
    adapters?: LapAdapters,
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
    const tiles = (
      { wide, narrow }: Pipelines['gateUp'],
      bind: (slab: GPUBuffer) => GPUBindGroup,
      threads: number,
    ): void => {
      for (const { slab, isWide, part, numTiles } of items.dispatches)
        run(isWide ? wide : narrow, bind(slab), part, threads, numTiles);
    };
    const any = bindingsOf(items.dispatches[0]!.slab);
    const quantiseAll = (group: GPUBindGroup | undefined, part: number, steps: number): void => {
      if (quantise && group) run(quantise, group, part, WORKGROUP_SIZE, Math.ceil(steps / WORKGROUP_SIZE));
    };
    quantiseAll(any.quantiseRows, items.quantiseRowsPart, (numRows * this.paddedHidden) / STEP_COLS);
    if (adapters) {
      adapters.passes.encodeGateUp(pass, adapters.bindings, adapters.items);
      tiles(adapters.passes.gateUp, adapters.bindings.tiles, moeIntermediateSize);
    } else tiles(gateUp, (slab) => bindingsOf(slab).gateUp, moeIntermediateSize);
    const activationSteps = (numAssignments * this.paddedIntermediate) / STEP_COLS;
    quantiseAll(any.quantiseActivations, items.quantiseActivationsPart, activationSteps);
    tiles(down, (slab) => bindingsOf(slab).down, hiddenSize);
    adapters?.passes.encodeDown(pass, adapters.bindings, adapters.items);
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
