import { type HeldAdapter, readRow, type WorkItem } from '@shoal/model';
import { shardBytes, type ExpertShape } from '@shoal/weights';
import { KernelError, type ExpertBackend, type ExpertOutput, type TakeSums } from '../backend.ts';
import {
  adapterFreed,
  checkShard,
  checkWorkItem,
  MAX_ASSIGNMENTS_PER_ROW,
  readAdapterShard,
} from '../check-work-item.ts';
import { type AdapterItems, adapterItems } from '../wgsl/expert-ffn/adapter-items.ts';
import { AdapterPasses } from '../wgsl/expert-ffn/adapter-passes.ts';
import type { ExpertFfn, FfnBindings, LapAdapters } from '../wgsl/expert-ffn/expert-ffn.ts';
import { lapItems, maxItemsBytes, type ExpertPlace, type LapItems } from '../wgsl/expert-ffn/lap-items.ts';
import { AdapterPool, HeldRegion } from './adapter-pool.ts';
import type { AllocationFailure } from './allocate.ts';
import { batchOf, type Batch } from './batch.ts';
import { chunkRows, type Chunk } from './chunks.ts';
import { ReadbackPool } from './readback.ts';
import { Scratch, type ScratchBuffers } from './scratch.ts';
import { Slabs } from './slabs.ts';

/**
 * Largest scratch buffer: the products of 1,170 assignments of V3's width. A larger lap is computed in several submits, which
 * bounds its memory.
 */
export const MAX_SCRATCH_BYTES = 32 * 1024 * 1024;
/** Far above the two laps, and hedges, that a coordinator keeps in flight. */
const MAX_LAPS_IN_FLIGHT = 64;

const NO_ADAPTERS = { adapterItems: 0, inner: 0, deltas: 0 };

/** Limits that tests lower. */
export interface BufferLimits {
  /** Limit of one scratch buffer; a larger lap is cut into pieces. */
  maxScratchBytes?: number;
  /** Limit of one slab, if it is below the device's own; a layer's experts may take several slabs. */
  maxBindingBytes?: number;
}

export class WebGpuExpertBackend implements ExpertBackend {
  readonly name = 'webgpu';
  readonly shape: ExpertShape;
  readonly maxExpertsPerLayer = Number.POSITIVE_INFINITY;
  readonly lost: Promise<string>;
  readonly #device: GPUDevice;
  readonly #ffn: ExpertFfn;
  readonly #slabs: Slabs;
  readonly #pool: AdapterPool;
  /** Compiled when the first adapter comes. */
  #adapterPasses: { compiling: Promise<AdapterPasses>; compiled?: AdapterPasses } | undefined;
  readonly #scratch: Scratch;
  readonly #readbacks: ReadbackPool;
  readonly #maxRows: number;
  readonly #maxAssignments: number;
  /** By slab buffer; renewed when the scratch buffers change. */
  readonly #bindings = new WeakMap<GPUBuffer, { version: number; bindings: FfnBindings }>();
  #rowStaging = new Float32Array(0);
  #itemStaging = new Uint32Array(0);
  #lapsInFlight = 0;
  #gone: string | undefined;

  constructor(device: GPUDevice, ffn: ExpertFfn, limits: BufferLimits = {}) {
    const deviceLimit = Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize);
    const bindingBytes = Math.min(deviceLimit, limits.maxBindingBytes ?? deviceLimit);
    const scratchLimit = Math.min(deviceLimit, limits.maxScratchBytes ?? MAX_SCRATCH_BYTES);
    const bytesPerShard = shardBytes(ffn.shape);
    const maxPerSlab = Math.floor(bindingBytes / bytesPerShard);
    this.shape = ffn.shape;
    const perRow = ffn.bufferBytes({ numRows: 1, numAssignments: 0 });
    const perAssignment = ffn.bufferBytes({ numRows: 0, numAssignments: 1 });
    this.#maxRows = Math.floor(scratchLimit / Math.max(...Object.values(perRow)));
    this.#maxAssignments = Math.floor(scratchLimit / Math.max(...Object.values(perAssignment)));
    if (maxPerSlab < 1 || this.#maxAssignments < MAX_ASSIGNMENTS_PER_ROW || this.#maxRows < 1) {
      const needs = `an expert has ${bytesPerShard}, and a row's scratch must fit in ${scratchLimit}`;
      throw new KernelError('limits', `this GPU binds at most ${bindingBytes} bytes; ${needs}`);
    }
    this.#device = device;
    this.#ffn = ffn;
    this.#slabs = new Slabs(device, bytesPerShard, maxPerSlab);
    this.#pool = new AdapterPool(device, bindingBytes);
    this.#scratch = new Scratch(device);
    this.#readbacks = new ReadbackPool(device);
    this.lost = this.#watchDevice();
  }

  get allocatedBytes(): number {
    const held = this.#slabs.allocatedBytes + this.#pool.allocatedBytes;
    return held + this.#scratch.allocatedBytes + this.#readbacks.allocatedBytes;
  }

  reserve(layer: number, experts: readonly number[]): Promise<void> {
    return this.#slabs.reserve(layer, experts);
  }

  async load(layer: number, expert: number, shard: Uint8Array): Promise<void> {
    this.#refuseIfGone();
    checkShard(this.shape, layer, expert, shard);
    await this.#slabs.load(layer, expert, shard as Uint8Array<ArrayBuffer>);
  }

  unload(layer: number, expert: number): void {
    this.#slabs.unload(layer, expert);
  }

  has(layer: number, expert: number): boolean {
    return this.#slabs.place(layer, expert) !== undefined;
  }

  async openAdapter(shard: Uint8Array): Promise<HeldAdapter> {
    this.#refuseIfGone();
    const adapter = readAdapterShard(this.shape, shard);
    await this.#compileAdapterPasses();
    this.#refuseIfGone();
    return this.#pool.load(shard as Uint8Array<ArrayBuffer>, adapter);
  }

  async run(lap: WorkItem): Promise<ExpertOutput> {
    let output: ExpertOutput | undefined;
    // The sums are valid only while they are mapped.
    await this.runTogether([lap], (_, sums, computeUs) => (output = { partial: sums.slice(), computeUs }));
    return output!;
  }

  async runTogether(laps: readonly WorkItem[], take: TakeSums): Promise<void> {
    this.#refuseIfGone();
    for (const lap of laps) checkWorkItem(lap, this.shape, (layer, expert) => this.has(layer, expert));
    if (this.#lapsInFlight + laps.length > MAX_LAPS_IN_FLIGHT) {
      throw new KernelError('limits', `${MAX_LAPS_IN_FLIGHT} laps are already in flight; wait for one of them`);
    }
    const startedMs = performance.now();
    this.#lapsInFlight += laps.length;
    try {
      const batch = batchOf(laps);
      const chunks = chunkRows(batch.work, this.#maxRows, this.#maxAssignments);
      const handOut = (sums: Float32Array): void => {
        const computeUs = (performance.now() - startedMs) * 1000;
        const D = this.shape.hiddenSize;
        for (const [i, { numRows }] of laps.entries()) {
          take(i, sums.subarray(batch.firstRow[i]! * D, (batch.firstRow[i]! + numRows) * D), computeUs);
        }
      };
      if (chunks.length === 1 && batch.work.experts.length > 0) await this.#runChunk(batch, chunks[0]!, handOut);
      else handOut(await this.#runChunks(batch, chunks));
    } finally {
      this.#lapsInFlight -= laps.length;
    }
  }

  destroy(): void {
    if (this.#gone !== undefined) return;
    this.#gone = 'the backend was destroyed';
    this.#slabs.destroy();
    this.#pool.destroy();
    this.#scratch.destroy();
    this.#readbacks.destroy();
    this.#device.destroy();
  }

  /** Computes a batch that exceeds the scratch, or has no assignments. Returns [numRows, hiddenSize]. */
  async #runChunks(batch: Batch, chunks: readonly Chunk[]): Promise<Float32Array> {
    const D = this.shape.hiddenSize;
    const sums = new Float32Array(batch.work.numRows * D);
    // Everything is submitted before the first wait, so later changes to a slab come later in the queue.
    await Promise.all(
      chunks
        .filter((chunk) => chunk.endAssignment > chunk.firstAssignment)
        .map((chunk) => this.#runChunk(batch, chunk, (part) => sums.set(part, chunk.firstRow * D))),
    );
    return sums;
  }

  /** Computes a chunk with one submit and one mapAsync. Calls `use` with its sums while they are mapped. */
  async #runChunk(batch: Batch, chunk: Chunk, use: (sums: Float32Array) => void): Promise<void> {
    const device = this.#device;
    const size = {
      numRows: chunk.endRow - chunk.firstRow,
      numAssignments: chunk.endAssignment - chunk.firstAssignment,
    };
    const slabs = batch.layers * this.#slabs.maxSlabs;
    const items = this.#items(batch, chunk);
    const added = this.#adapterItems(batch, chunk, items);
    const passes = added && this.#adapterPasses?.compiled;
    const forAdapters = added && passes ? passes.bufferBytes(added) : NO_ADAPTERS;
    const needed = { ...this.#ffn.bufferBytes(size), items: maxItemsBytes(size, slabs), ...forAdapters };
    const { buffers, failure: scratchFailure } = this.#scratch.take(needed);
    const readback = this.#readbacks.take(needed.partial);
    const adapters = added && passes && this.#bindAdapters(passes, added, buffers);
    // Work on a buffer that could not be allocated is rejected, which fails this lap but not the device. The error scope costs a
    // round trip to the GPU process, so there is none once all buffers are known to exist.
    const isUnsure = scratchFailure !== undefined || readback.failure !== undefined;
    if (isUnsure) device.pushErrorScope('validation');
    const staged = this.#stageRows(batch, chunk);
    device.queue.writeBuffer(buffers.rows, 0, this.#rowStaging, 0, staged);
    device.queue.writeBuffer(buffers.items, 0, items.words);
    if (adapters) device.queue.writeBuffer(buffers.adapterItems, 0, adapters.items.words);
    const encoder = device.createCommandEncoder();
    this.#ffn.encode(encoder, items, (slab) => this.#bind(slab, buffers), size, adapters);
    encoder.copyBufferToBuffer(buffers.partial, 0, readback.buffer, 0, needed.partial);
    device.queue.submit([encoder.finish()]);
    const reading = this.#readbacks.read(readback, size.numRows * this.shape.hiddenSize, use);
    if (!isUnsure) return reading;
    const failure = firstFailure([scratchFailure, readback.failure], device.popErrorScope());
    const [error, result] = await Promise.all([failure, settle(reading)]);
    if (error ?? result) throw error ?? result;
  }

  #bind(slab: GPUBuffer, scratch: ScratchBuffers): FfnBindings {
    const known = this.#bindings.get(slab);
    if (known?.version === scratch.version) return known.bindings;
    const bindings = this.#ffn.bind(slab, scratch);
    this.#bindings.set(slab, { version: scratch.version, bindings });
    return bindings;
  }

  #adapterItems({ adapters }: Batch, chunk: Chunk, items: LapItems): AdapterItems | undefined {
    if (!adapters) return undefined;
    const places = adapters.experts.map((adapter) => {
      if (!(adapter instanceof HeldRegion)) throw adapterFreed();
      return adapter.kept;
    });
    const { paddedHidden: hidden, paddedIntermediate: intermediate } = this.#ffn;
    return adapterItems({ ...adapters, experts: places }, chunk, items, { hidden, intermediate });
  }

  #bindAdapters(passes: AdapterPasses, items: AdapterItems, buffers: ScratchBuffers): LapAdapters {
    const pool = this.#pool.buffer;
    // Without it, no adapter is held.
    if (!pool) throw adapterFreed();
    return { passes, items, bindings: passes.bind(pool, buffers, this.#ffn.inputs(buffers)) };
  }

  async #compileAdapterPasses(): Promise<void> {
    this.#adapterPasses ??= { compiling: AdapterPasses.compile(this.#device, this.shape, this.#ffn.variant) };
    this.#adapterPasses.compiled = await this.#adapterPasses.compiling;
  }

  /**
   * Writes f32 [numRows, paddedHidden], padded with zeros, into the staging array. Returns its length. Halves become f32 here, so
   * that no GPU can flush a subnormal one to zero.
   */
  #stageRows({ laps, firstRow }: Batch, chunk: Chunk): number {
    const D = this.shape.hiddenSize;
    const stride = this.#ffn.paddedHidden;
    const length = (chunk.endRow - chunk.firstRow) * stride;
    if (this.#rowStaging.length < length) this.#rowStaging = new Float32Array(2 ** Math.ceil(Math.log2(length)));
    for (let i = 0; i < laps.length; i++) {
      const lap = laps[i]!;
      const first = firstRow[i]!;
      const end = Math.min(chunk.endRow, first + lap.numRows);
      for (let row = Math.max(chunk.firstRow, first); row < end; row++) {
        const target = (row - chunk.firstRow) * stride;
        readRow(lap, row - first, this.#rowStaging.subarray(target, target + D));
      }
    }
    return length;
  }

  #items({ work, placeKey }: Batch, chunk: Chunk): LapItems {
    const placeOf = (key: number): ExpertPlace => this.#slabs.place(...placeKey(key))!;
    return lapItems(work, chunk, this.shape, placeOf, (words) => {
      if (this.#itemStaging.length < words) this.#itemStaging = new Uint32Array(2 ** Math.ceil(Math.log2(words)));
      return this.#itemStaging.subarray(0, words);
    });
  }

  #refuseIfGone(): void {
    if (this.#gone !== undefined) throw new KernelError('device-lost', `the GPU device is gone: ${this.#gone}`);
  }

  /** Resolves if the device is lost, or fails in a way that invalidates its results. */
  #watchDevice(): Promise<string> {
    return new Promise((resolve) => {
      const lose = (reason: string): void => {
        if (this.#gone !== undefined) return;
        this.destroy();
        this.#gone = reason;
        resolve(reason);
      };
      void this.#device.lost.then((info) => lose(info.message || info.reason || 'the device was lost'));
      // Expected errors have error scopes. After any other, the queue's results cannot be trusted.
      this.#device.addEventListener('uncapturederror', (event) => lose(`GPU error: ${event.error.message}`));
    });
  }
}

/** Why a lap was not computed: a failed allocation rather than the error that follows from it. Never rejects. */
async function firstFailure(
  allocations: readonly (AllocationFailure | undefined)[],
  refusal: Promise<GPUError | null>,
): Promise<KernelError | undefined> {
  try {
    const [errors, refused] = await Promise.all([Promise.all(allocations), refusal]);
    const missing = errors.find((error) => error !== undefined);
    if (missing || !refused) return missing;
    return new KernelError('device-lost', `the GPU rejected a lap: ${refused.message}`);
  } catch (cause) {
    return new KernelError('device-lost', 'the GPU device was lost while a lap was being computed', { cause });
  }
}

/** The error of a promise, or undefined. */
async function settle(promise: Promise<void>): Promise<unknown> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return error ?? new Error('rejected without a reason');
  }
}
