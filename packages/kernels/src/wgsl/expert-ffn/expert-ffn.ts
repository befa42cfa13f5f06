import { BLOCK_COLS, shardLayout, type ExpertShape, type Quant } from '@shoal/weights';
import { KernelError } from '../../backend.ts';
import bindingsWgsl from './bindings.wgsl?raw';
import downWgsl from './down.wgsl?raw';
import gateUpWgsl from './gate-up.wgsl?raw';
import weightsF16Wgsl from './weights-f16.wgsl?raw';
import weightsQ4Wgsl from './weights-q4.wgsl?raw';
import weightsQ8Wgsl from './weights-q8.wgsl?raw';

const WEIGHTS_WGSL: Readonly<Record<Quant, string>> = { f16: weightsF16Wgsl, q8: weightsQ8Wgsl, q4: weightsQ4Wgsl };

/** Invocations of a workgroup; the shaders say the same. 64 is a whole number of subgroups on every GPU. */
const WORKGROUP_SIZE = 64;
/** WebGPU's guaranteed maxComputeWorkgroupsPerDimension. */
const MAX_DISPATCH = 65_535;
const VEC_BYTES = 16;
/** One Item of bindings.wgsl. */
const ITEM_WORDS = 4;

/** What one dispatch pair computes: a whole lap, or as many of its rows as fit the scratch buffers. */
export interface FfnSize {
  numRows: number;
  numAssignments: number;
}

/** The buffers of one dispatch pair; see bindings.wgsl. */
export interface FfnBuffers {
  slab: GPUBuffer;
  /** f16 bits [numRows, paddedHidden] */
  rows: GPUBuffer;
  /** Items */
  items: GPUBuffer;
  /** f32 [numAssignments, paddedIntermediate] */
  activations: GPUBuffer;
  /** f32 [numRows, hiddenSize] */
  partial: GPUBuffer;
}

/** The two passes of the expert FFN, compiled for one shape. */
export class ExpertFfn {
  /** Columns of a hidden row and of an activation row in the scratch buffers: whole column blocks. */
  readonly paddedHidden: number;
  readonly paddedIntermediate: number;
  readonly #shape: ExpertShape;
  readonly #device: GPUDevice;
  readonly #layout: GPUBindGroupLayout;
  readonly #gateUp: GPUComputePipeline;
  readonly #down: GPUComputePipeline;

  private constructor(
    device: GPUDevice,
    shape: ExpertShape,
    layout: GPUBindGroupLayout,
    pipelines: { gateUp: GPUComputePipeline; down: GPUComputePipeline },
  ) {
    this.#device = device;
    this.#shape = shape;
    this.#layout = layout;
    this.#gateUp = pipelines.gateUp;
    this.#down = pipelines.down;
    const shard = shardLayout(shape);
    this.paddedHidden = shard.gate.colBlocks * BLOCK_COLS[shape.quant];
    this.paddedIntermediate = shard.down.colBlocks * BLOCK_COLS[shape.quant];
  }

  /** Throws KernelError `compile` with the compiler's messages. */
  static async compile(device: GPUDevice, shape: ExpertShape): Promise<ExpertFfn> {
    const layout = device.createBindGroupLayout({
      entries: (
        ['read-only-storage', 'read-only-storage', 'read-only-storage', 'read-only-storage', 'storage'] as const
      ).map((type, binding) => ({ binding, visibility: GPU_COMPUTE_STAGE, buffer: { type } })),
    });
    const pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [layout] });
    const constants = constantsOf(shape);
    const weights = WEIGHTS_WGSL[shape.quant];
    const pipeline = async (
      entryPoint: string,
      source: string,
      used: readonly string[],
    ): Promise<GPUComputePipeline> => {
      const code = [bindingsWgsl, weights, source].join('\n');
      const module = device.createShaderModule({ label: `${entryPoint} ${shape.quant}`, code });
      await refuseErrors(module, entryPoint);
      const chosen = Object.fromEntries(used.map((name) => [name, constants[name]!]));
      try {
        return await device.createComputePipelineAsync({
          label: `${entryPoint} ${shape.quant}`,
          layout: pipelineLayout,
          compute: { module, entryPoint, constants: chosen },
        });
      } catch (cause) {
        throw new KernelError('compile', `pipeline ${entryPoint} (${shape.quant}) was refused: ${describe(cause)}`, {
          cause,
        });
      }
    };
    const names = Object.keys(constants);
    const [gateUp, down] = await Promise.all([
      pipeline('gate_up', gateUpWgsl, names),
      pipeline('down', downWgsl, names),
    ]);
    return new ExpertFfn(device, shape, layout, { gateUp, down });
  }

  /** Words of the item buffer for a lap of this size. */
  static itemWords({ numRows, numAssignments }: FfnSize): number {
    return (1 + numAssignments + numRows) * ITEM_WORDS;
  }

  /** Bind groups hold their buffers: make them again when one of the buffers is replaced. */
  bind(buffers: FfnBuffers): FfnBindings {
    const group = (inputs: GPUBuffer, outputs: GPUBuffer): GPUBindGroup =>
      this.#device.createBindGroup({
        layout: this.#layout,
        entries: [buffers.slab, buffers.slab, inputs, buffers.items, outputs].map((buffer, binding) => ({
          binding,
          resource: { buffer },
        })),
      });
    return {
      gateUp: group(buffers.rows, buffers.activations),
      down: group(buffers.activations, buffers.partial),
    };
  }

  /** Encode both dispatches. */
  encode(encoder: GPUCommandEncoder, bindings: FfnBindings, { numRows, numAssignments }: FfnSize): void {
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.#gateUp);
    pass.setBindGroup(0, bindings.gateUp);
    dispatch(pass, this.#shape.moeIntermediateSize, numAssignments);
    pass.setPipeline(this.#down);
    pass.setBindGroup(0, bindings.down);
    dispatch(pass, this.#shape.hiddenSize, numRows);
    pass.end();
  }
}

export interface FfnBindings {
  gateUp: GPUBindGroup;
  down: GPUBindGroup;
}

/** GPUShaderStage.COMPUTE: the global is missing where the GPU comes from a Node addon. */
const GPU_COMPUTE_STAGE = 0x4;

function dispatch(pass: GPUComputePassEncoder, columns: number, count: number): void {
  const y = Math.min(count, MAX_DISPATCH);
  pass.dispatchWorkgroups(Math.ceil(columns / WORKGROUP_SIZE), y, Math.ceil(count / MAX_DISPATCH));
}

function constantsOf(shape: ExpertShape): Record<string, number> {
  const { gate, up, down, totalBytes } = shardLayout(shape);
  return {
    HIDDEN: shape.hiddenSize,
    INTERMEDIATE: shape.moeIntermediateSize,
    SHARD_VECS: totalBytes / VEC_BYTES,
    GATE_VALUES: gate.valuesOffset / VEC_BYTES,
    GATE_SCALES: gate.scalesOffset / VEC_BYTES,
    UP_VALUES: up.valuesOffset / VEC_BYTES,
    UP_SCALES: up.scalesOffset / VEC_BYTES,
    DOWN_VALUES: down.valuesOffset / VEC_BYTES,
    DOWN_SCALES: down.scalesOffset / VEC_BYTES,
    HIDDEN_BLOCKS: gate.colBlocks,
    INTERMEDIATE_BLOCKS: down.colBlocks,
    MAX_DISPATCH,
  };
}

async function refuseErrors(module: GPUShaderModule, name: string): Promise<void> {
  const { messages } = await module.getCompilationInfo();
  const errors = messages.filter((message) => message.type === 'error');
  if (errors.length === 0) return;
  const lines = errors.map((message) => `${message.lineNum}:${message.linePos} ${message.message}`);
  throw new KernelError('compile', `shader ${name} does not compile: ${lines.join('; ')}`);
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
