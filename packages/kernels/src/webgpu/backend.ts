import { shardBytes, type ExpertShape } from '@shoal/weights';
import { KernelError, type ExpertBackend, type ExpertLap, type ExpertOutput } from '../backend.ts';
import { checkLap, MAX_ASSIGNMENTS_PER_ROW, rowStart } from '../lap.ts';
import { ExpertFfn, type FfnBindings } from '../wgsl/expert-ffn/expert-ffn.ts';
import { chunkRows, type Chunk } from './chunks.ts';
import { ReadbackPool, type Readback } from './readback.ts';
import { Scratch, scratchBytes, type ScratchBuffers } from './scratch.ts';
import { Slabs } from './slabs.ts';

/**
 * Largest scratch buffer: the activations of 8,000 assignments of V3's width. A larger lap is computed in several submits,
 * so its memory stays bounded whatever a dispatch asks for.
 */
export const MAX_SCRATCH_BYTES = 64 * 1024 * 1024;
/** Laps in flight: a coordinator keeps two, plus hedges; a queue this long means that nobody waits for the answers. */
const MAX_LAPS_IN_FLIGHT = 64;

export class WebGpuExpertBackend implements ExpertBackend {
  readonly name = 'webgpu';
  readonly shape: ExpertShape;
  readonly maxExpertsPerLayer: number;
  readonly lost: Promise<string>;
  readonly #device: GPUDevice;
  readonly #ffn: ExpertFfn;
  readonly #slabs: Slabs;
  readonly #scratch: Scratch;
  readonly #readbacks: ReadbackPool;
  readonly #maxRows: number;
  readonly #maxAssignments: number;
  /** By slab buffer; made again when the scratch buffers change. */
  readonly #bindings = new WeakMap<GPUBuffer, { version: number; bindings: FfnBindings }>();
  #rowStaging = new Uint16Array(0);
  #lapsInFlight = 0;
  #gone: string | undefined;

  /** `maxScratchBytes` is lowered by tests, to see a lap cut into pieces. */
  constructor(device: GPUDevice, ffn: ExpertFfn, shape: ExpertShape, maxScratchBytes = MAX_SCRATCH_BYTES) {
    const bindingBytes = Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize);
    const scratchLimit = Math.min(maxScratchBytes, bindingBytes);
    const bytesPerShard = shardBytes(shape);
    this.shape = shape;
    this.maxExpertsPerLayer = Math.floor(bindingBytes / bytesPerShard);
    this.#maxAssignments = Math.floor(scratchLimit / (ffn.paddedIntermediate * Float32Array.BYTES_PER_ELEMENT));
    this.#maxRows = Math.floor(
      scratchLimit /
        Math.max(ffn.paddedHidden * Uint16Array.BYTES_PER_ELEMENT, shape.hiddenSize * Float32Array.BYTES_PER_ELEMENT),
    );
    if (this.maxExpertsPerLayer < 1 || this.#maxAssignments < MAX_ASSIGNMENTS_PER_ROW || this.#maxRows < 1) {
      throw new KernelError(
        'limits',
        `this GPU binds ${bindingBytes} bytes at once; an expert has ${bytesPerShard}, and a row's scratch must fit in ${scratchLimit}`,
      );
    }
    this.#device = device;
    this.#ffn = ffn;
    this.#slabs = new Slabs(device, bytesPerShard, this.maxExpertsPerLayer);
    this.#scratch = new Scratch(device);
    this.#readbacks = new ReadbackPool(device);
    this.lost = this.#watchDevice();
  }

  get allocatedBytes(): number {
    return this.#slabs.allocatedBytes;
  }

  reserve(layer: number, experts: readonly number[]): Promise<void> {
    return this.#slabs.reserve(layer, experts);
  }

  async load(layer: number, expert: number, shard: Uint8Array): Promise<void> {
    this.#refuseIfGone();
    const expectedBytes = shardBytes(this.shape);
    if (shard.byteLength !== expectedBytes) {
      throw new KernelError(
        'bad-shard',
        `expert ${expert} of layer ${layer} has ${shard.byteLength} bytes; a shard of this model has ${expectedBytes}`,
      );
    }
    await this.#slabs.load(layer, expert, shard as Uint8Array<ArrayBuffer>);
  }

  unload(layer: number, expert: number): void {
    this.#slabs.unload(layer, expert);
  }

  has(layer: number, expert: number): boolean {
    return this.#slabs.slot(layer, expert) !== undefined;
  }

  async run(lap: ExpertLap): Promise<ExpertOutput> {
    this.#refuseIfGone();
    checkLap(lap, this.shape, (layer, expert) => this.has(layer, expert));
    if (this.#lapsInFlight >= MAX_LAPS_IN_FLIGHT) {
      throw new KernelError('limits', `${MAX_LAPS_IN_FLIGHT} laps are in flight already; wait for one of them`);
    }
    const startedMs = performance.now();
    const D = this.shape.hiddenSize;
    const partial = new Float32Array(lap.numRows * D);
    this.#lapsInFlight++;
    try {
      // Everything is submitted before the first wait: what happens to the slab from then on comes later in the queue.
      const pending = chunkRows(lap, this.#maxRows, this.#maxAssignments)
        .filter((chunk) => chunk.endAssignment > chunk.firstAssignment)
        .map((chunk) => ({ chunk, ...this.#submit(lap, chunk) }));
      await Promise.all(
        pending.map(async ({ chunk, readback, failure }) => {
          const target = partial.subarray(chunk.firstRow * D, chunk.endRow * D);
          const [error, result] = await Promise.all([failure, settle(this.#readbacks.read(readback, target))]);
          if (error ?? result) throw error ?? result;
        }),
      );
    } finally {
      this.#lapsInFlight--;
    }
    return { partial, computeUs: (performance.now() - startedMs) * 1000 };
  }

  destroy(): void {
    if (this.#gone !== undefined) return;
    this.#gone = 'the backend was destroyed';
    this.#slabs.destroy();
    this.#scratch.destroy();
    this.#readbacks.destroy();
    this.#device.destroy();
  }

  #submit(lap: ExpertLap, chunk: Chunk): { readback: Readback; failure: Promise<KernelError | undefined> } {
    const device = this.#device;
    const size = {
      numRows: chunk.endRow - chunk.firstRow,
      numAssignments: chunk.endAssignment - chunk.firstAssignment,
    };
    const needed = scratchBytes(this.#ffn, this.shape.hiddenSize, size);
    const { buffers, failure: scratchFailure } = this.#scratch.take(needed);
    const readback = this.#readbacks.take(needed.partial);
    // Work on a buffer that could not be had is refused; that concerns this lap, not the device.
    device.pushErrorScope('validation');
    device.queue.writeBuffer(buffers.rows, 0, this.#stageRows(lap, chunk));
    device.queue.writeBuffer(buffers.items, 0, this.#items(lap, chunk));
    const encoder = device.createCommandEncoder();
    this.#ffn.encode(encoder, this.#bind(lap.layer, buffers), size);
    encoder.copyBufferToBuffer(buffers.partial, 0, readback.buffer, 0, needed.partial);
    device.queue.submit([encoder.finish()]);
    const refusal = device.popErrorScope();
    return { readback, failure: firstFailure([scratchFailure, readback.failure], refusal) };
  }

  #bind(layer: number, scratch: ScratchBuffers): FfnBindings {
    const slab = this.#slabs.buffer(layer)!;
    const known = this.#bindings.get(slab);
    if (known?.version === scratch.version) return known.bindings;
    const bindings = this.#ffn.bind({ slab, ...scratch });
    this.#bindings.set(slab, { version: scratch.version, bindings });
    return bindings;
  }

  /** f16 bits [numRows, paddedHidden]; the padding is zero. */
  #stageRows(lap: ExpertLap, chunk: Chunk): Uint16Array<ArrayBuffer> {
    const D = this.shape.hiddenSize;
    const stride = this.#ffn.paddedHidden;
    const rows = lap.rows as Uint16Array<ArrayBuffer>;
    if (stride === D) return rows.subarray(chunk.firstRow * D, chunk.endRow * D);
    const length = (chunk.endRow - chunk.firstRow) * stride;
    if (this.#rowStaging.length < length) this.#rowStaging = new Uint16Array(length);
    const staging = this.#rowStaging.subarray(0, length);
    for (let row = chunk.firstRow; row < chunk.endRow; row++) {
      staging.set(rows.subarray(row * D, (row + 1) * D), (row - chunk.firstRow) * stride);
    }
    return staging;
  }

  /** The Items of bindings.wgsl: header, assignments, rows. */
  #items(lap: ExpertLap, chunk: Chunk): Uint32Array<ArrayBuffer> {
    const { firstRow, endRow, firstAssignment, endAssignment } = chunk;
    const size = { numRows: endRow - firstRow, numAssignments: endAssignment - firstAssignment };
    const words = new Uint32Array(ExpertFfn.itemWords(size));
    const floats = new Float32Array(words.buffer);
    words[0] = size.numRows;
    words[1] = size.numAssignments;
    let rowWord = 4 * (1 + size.numAssignments);
    for (let row = firstRow; row < endRow; row++, rowWord += 4) {
      const start = rowStart(lap, row);
      const end = lap.rowEnd[row]!;
      words[rowWord] = start - firstAssignment;
      words[rowWord + 1] = end - firstAssignment;
      for (let a = start; a < end; a++) {
        const word = 4 * (1 + a - firstAssignment);
        words[word] = this.#slabs.slot(lap.layer, lap.experts[a]!)!;
        words[word + 1] = row - firstRow;
        floats[word + 2] = lap.weights[a]!;
      }
    }
    return words;
  }

  #refuseIfGone(): void {
    if (this.#gone !== undefined)
      throw new KernelError('device-lost', `there is no GPU device any more: ${this.#gone}`);
  }

  /** Resolves when the device goes by itself, or fails in a way that makes its results worth nothing. */
  #watchDevice(): Promise<string> {
    return new Promise((resolve) => {
      const lose = (reason: string): void => {
        if (this.#gone !== undefined) return;
        this.destroy();
        this.#gone = reason;
        resolve(reason);
      };
      void this.#device.lost.then((info) => lose(info.message || info.reason || 'the device was lost'));
      // Every expected error has a scope of its own. After any other, what the queue computes cannot be trusted.
      this.#device.addEventListener('uncapturederror', (event) => lose(`GPU error: ${event.error.message}`));
    });
  }
}

/** Why a lap was not computed: the missing memory rather than the refusal that follows from it. Never rejects. */
async function firstFailure(
  allocations: readonly (Promise<KernelError | undefined> | undefined)[],
  refusal: Promise<GPUError | null>,
): Promise<KernelError | undefined> {
  try {
    const [errors, refused] = await Promise.all([Promise.all(allocations), refusal]);
    const missing = errors.find((error) => error !== undefined);
    if (missing || !refused) return missing;
    return new KernelError('device-lost', `the GPU refused a lap: ${refused.message}`);
  } catch (cause) {
    return new KernelError('device-lost', 'the GPU device was lost while a lap was being computed', { cause });
  }
}

/** What a promise failed with, or undefined. */
async function settle(promise: Promise<void>): Promise<unknown> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return error ?? new Error('rejected without a reason');
  }
}
