import type { ExpertAdapter } from '@shoal/model';
import { KernelError } from '../backend.ts';
import { Held } from '../held.ts';
import type { AdapterPlace } from '../wgsl/expert-ffn/adapter-items.ts';
import { allocate, USAGE } from './allocate.ts';

const MIN_POOL_BYTES = 256 * 1024;

interface Region {
  offset: number;
  bytes: number;
}

/** The low-rank shards on the GPU, in one buffer that doubles when it is full. The queue runs in order, as in Slabs. */
export class AdapterPool {
  readonly #device: GPUDevice;
  readonly #maxBytes: number;
  #buffer: GPUBuffer | undefined;
  /** In order of offset. */
  #taken: Region[] = [];
  /** The last load, after which the next one starts. */
  #tail: Promise<unknown> = Promise.resolve();
  #destroyed = false;

  /** `maxBytes`: the largest buffer that can be bound. */
  constructor(device: GPUDevice, maxBytes: number) {
    this.#device = device;
    this.#maxBytes = maxBytes;
  }

  get allocatedBytes(): number {
    return this.#buffer?.size ?? 0;
  }

  /** Undefined without adapters. */
  get buffer(): GPUBuffer | undefined {
    return this.#buffer;
  }

  /** Rejects with a KernelError. */
  load(shard: Uint8Array<ArrayBuffer>, adapter: ExpertAdapter): Promise<HeldRegion> {
    const loaded = this.#tail.then(() => this.#load(shard, adapter));
    this.#tail = loaded.catch(() => undefined);
    return loaded;
  }

  destroy(): void {
    this.#destroyed = true;
    this.#buffer?.destroy();
    this.#buffer = undefined;
    this.#taken = [];
  }

  async #load(shard: Uint8Array<ArrayBuffer>, adapter: ExpertAdapter): Promise<HeldRegion> {
    let region = this.#take(shard.byteLength);
    if (!region) {
      await this.#grow(shard.byteLength);
      region = this.#take(shard.byteLength);
    }
    if (this.#destroyed) throw new KernelError('device-lost', 'the backend was destroyed');
    if (!region || !this.#buffer) throw new KernelError('out-of-memory', 'no room for an adapter on the GPU');
    this.#device.queue.writeBuffer(this.#buffer, region.offset, shard);
    const rank = Math.max(...Object.values(adapter).map((matrices) => matrices.rank));
    const { offset, bytes } = region;
    return new HeldRegion({ word: offset / 4, rank }, bytes, () => this.#give(region));
  }

  /** The first gap that is large enough. */
  #take(bytes: number): Region | undefined {
    let offset = 0;
    let index = 0;
    for (; index < this.#taken.length; index++) {
      const next = this.#taken[index]!;
      if (next.offset - offset >= bytes) break;
      offset = next.offset + next.bytes;
    }
    if (offset + bytes > this.allocatedBytes) return undefined;
    const region = { offset, bytes };
    this.#taken.splice(index, 0, region);
    return region;
  }

  #give(region: Region): void {
    this.#taken = this.#taken.filter((each) => each !== region);
    if (this.#taken.length > 0) return;
    this.#buffer?.destroy();
    this.#buffer = undefined;
  }

  async #grow(bytes: number): Promise<void> {
    const end = this.#taken.at(-1);
    const needed = (end ? end.offset + end.bytes : 0) + bytes;
    const size = Math.min(this.#maxBytes, Math.max(MIN_POOL_BYTES, 2 ** Math.ceil(Math.log2(needed))));
    if (needed > size) {
      throw new KernelError('out-of-memory', `adapters need ${needed} bytes, and this GPU binds ${this.#maxBytes}`);
    }
    const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
    const { buffer, failure } = allocate(this.#device, { label: 'adapters', size, usage });
    const error = await failure;
    if (error || this.#destroyed) {
      buffer.destroy();
      throw error ?? new KernelError('device-lost', 'the backend was destroyed');
    }
    const old = this.#buffer;
    if (old) {
      const encoder = this.#device.createCommandEncoder();
      encoder.copyBufferToBuffer(old, 0, buffer, 0, old.size);
      this.#device.queue.submit([encoder.finish()]);
      old.destroy();
    }
    this.#buffer = buffer;
  }
}

/** A low-rank shard in the pool. */
export class HeldRegion extends Held<AdapterPlace> {}
