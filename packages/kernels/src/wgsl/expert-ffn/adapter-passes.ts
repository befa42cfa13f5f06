import { isGated } from '@shoal/model';
import type { ExpertShape } from '@shoal/weights';
import { type AdapterItems, paramsOffset } from './adapter-items.ts';
import {
  type FfnBuffers,
  ffnEntries,
  GPU_COMPUTE_STAGE,
  OUTPUTS_BINDING,
  PARTS_BINDING,
  pipelineFactory,
  WORKGROUP_SIZE,
} from './ffn-pipelines.ts';
import { WIDE_TILE_ROWS } from './lap-items.ts';
import { type FfnVariant, MAX_DISPATCH } from './variants.ts';

const POOL_BINDING = 0;
const PARAMS_BINDING = 3;
const PARAMS_BYTES = 32;
/** `inner` and `outputs` of adapters.wgsl. */
const WRITTEN = [4, 5];
const DELTAS_BINDING = OUTPUTS_BINDING + 1;

/** The bindings of one lap with adapters. */
export interface AdapterBindings {
  gateUp: GPUBindGroup;
  down: GPUBindGroup;
  /** Of the tiles of gate and up, by slab. */
  tiles: (slab: GPUBuffer) => GPUBindGroup;
}

/** The passes that laps with adapters have besides; compiled when the first adapter comes. */
export class AdapterPasses {
  readonly #device: GPUDevice;
  readonly #shape: ExpertShape;
  readonly #layout: GPUBindGroupLayout;
  readonly #tilesLayout: GPUBindGroupLayout;
  readonly #adaptIn: GPUComputePipeline;
  readonly #adaptOut: GPUComputePipeline;
  /** The passes of gate and up that add what adapters do. */
  readonly gateUp: { wide: GPUComputePipeline; narrow: GPUComputePipeline };

  private constructor(
    device: GPUDevice,
    shape: ExpertShape,
    layouts: { adapters: GPUBindGroupLayout; tiles: GPUBindGroupLayout },
    pipelines: readonly GPUComputePipeline[],
  ) {
    this.#device = device;
    this.#shape = shape;
    this.#layout = layouts.adapters;
    this.#tilesLayout = layouts.tiles;
    const [adaptIn, adaptOut, wide, narrow] = pipelines;
    this.#adaptIn = adaptIn!;
    this.#adaptOut = adaptOut!;
    this.gateUp = { wide: wide!, narrow: narrow! };
  }

  /** Throws KernelError `compile` with the compiler's messages. */
  static async compile(device: GPUDevice, shape: ExpertShape, variant: FfnVariant): Promise<AdapterPasses> {
    const adapters = layoutOf(device, WRITTEN.at(-1)! + 1, WRITTEN, PARAMS_BINDING);
    const tiles = layoutOf(device, DELTAS_BINDING + 1, [OUTPUTS_BINDING], PARTS_BINDING);
    const own = pipelineFactory(device, shape, variant, adapters);
    const ofTiles = pipelineFactory(device, shape, variant, tiles);
    const pipelines = [
      own('adapt_in', 1),
      own('adapt_out', 1),
      ofTiles('gate_up', WIDE_TILE_ROWS, true),
      ofTiles('gate_up', 1, true),
    ];
    return new AdapterPasses(device, shape, { adapters, tiles }, await Promise.all(pipelines));
  }

  /** Bytes of the buffers that only laps with adapters use. */
  bufferBytes({ words, numSlots, numEntries, maxRank }: AdapterItems) {
    return {
      adapterItems: words.byteLength,
      inner: 4 * numEntries * maxRank,
      deltas: 4 * 2 * numSlots * this.#shape.moeIntermediateSize,
    };
  }

  /** `inputs`: what the tiles of gate and up read, rows or their planes. */
  bind(pool: GPUBuffer, buffers: FfnBuffers, inputs: GPUBuffer): AdapterBindings {
    const { rows, activations, products, adapterItems, inner, deltas } = buffers;
    const group = (x: GPUBuffer, outputs: GPUBuffer): GPUBindGroup =>
      this.#device.createBindGroup({
        layout: this.#layout,
        entries: [pool, x, adapterItems, adapterItems, inner, outputs].map((buffer, binding) => ({
          binding,
          resource: binding === PARAMS_BINDING ? { buffer, size: PARAMS_BYTES } : { buffer },
        })),
      });
    return {
      gateUp: group(rows, deltas),
      down: group(activations, products),
      tiles: (slab) =>
        this.#device.createBindGroup({
          layout: this.#tilesLayout,
          entries: [
            ...ffnEntries(slab, inputs, buffers.items, activations),
            { binding: DELTAS_BINDING, resource: { buffer: deltas } },
          ],
        }),
    };
  }

  /** Before the tiles of gate and up. */
  encodeGateUp(pass: GPUComputePassEncoder, { gateUp }: AdapterBindings, items: AdapterItems): void {
    const { activation = 'swiglu' } = this.#shape;
    if (isGated(activation)) this.#encode(pass, gateUp, 0, items);
    this.#encode(pass, gateUp, 1, items);
  }

  /** After the tiles of down. */
  encodeDown(pass: GPUComputePassEncoder, { down }: AdapterBindings, items: AdapterItems): void {
    this.#encode(pass, down, 2, items);
  }

  #encode(pass: GPUComputePassEncoder, group: GPUBindGroup, matrix: number, items: AdapterItems): void {
    const { hiddenSize, moeIntermediateSize } = this.#shape;
    const outDim = matrix === 2 ? hiddenSize : moeIntermediateSize;
    const run = (pipeline: GPUComputePipeline, x: number, count: number): void => {
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group, [paramsOffset(matrix)]);
      pass.dispatchWorkgroups(x, Math.min(count, MAX_DISPATCH), Math.ceil(count / MAX_DISPATCH));
    };
    run(this.#adaptIn, items.maxRank, items.numEntries);
    run(this.#adaptOut, Math.ceil(outDim / WORKGROUP_SIZE), items.numSlots);
  }
}

function layoutOf(
  device: GPUDevice,
  count: number,
  written: readonly number[],
  dynamicBinding: number,
): GPUBindGroupLayout {
  return device.createBindGroupLayout({
    entries: Array.from({ length: count }, (_, binding) => ({
      binding: POOL_BINDING + binding,
      visibility: GPU_COMPUTE_STAGE,
      buffer: {
        type: written.includes(binding) ? 'storage' : 'read-only-storage',
        hasDynamicOffset: binding === dynamicBinding,
      },
    })),
  });
}
