import { KernelError } from '../backend.ts';
import { allocate, USAGE } from './allocate.ts';

/** Without a reservation a slab grows by half, so that loading n experts copies each a few times, not n. */
const GROWTH = 1.5;
/** Bytes handed to the queue before waiting for it: writeBuffer copies them, and a whole pledge of copies would not fit. */
const MAX_PENDING_UPLOAD_BYTES = 64 * 1024 * 1024;

/** The experts of one layer in one buffer, shard after shard. */
interface Slab {
  buffer: GPUBuffer;
  capacity: number;
  /** expert → slot */
  slots: Map<number, number>;
}

/**
 * The weights on the GPU: one slab per layer. The queue runs in order, so a slab may be copied, replaced or written while
 * laps that were submitted earlier still read it.
 */
export class Slabs {
  readonly #device: GPUDevice;
  readonly #shardBytes: number;
  readonly #maxExperts: number;
  readonly #slabs = new Map<number, Slab>();
  /** The last allocation or load of each layer: they change its slab one after another. */
  readonly #tails = new Map<number, Promise<void>>();
  #allocatedBytes = 0;
  #pendingUploadBytes = 0;
  #destroyed = false;

  constructor(device: GPUDevice, shardBytes: number, maxExperts: number) {
    this.#device = device;
    this.#shardBytes = shardBytes;
    this.#maxExperts = maxExperts;
  }

  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  buffer(layer: number): GPUBuffer | undefined {
    return this.#slabs.get(layer)?.buffer;
  }

  slot(layer: number, expert: number): number | undefined {
    return this.#slabs.get(layer)?.slots.get(expert);
  }

  /** Make the layer's slab exactly large enough for these experts and those it holds. */
  reserve(layer: number, experts: readonly number[]): Promise<void> {
    return this.#inTurn(layer, async () => {
      const slab = this.#slabs.get(layer);
      const needed = new Set([...experts, ...(slab?.slots.keys() ?? [])]).size;
      if (needed === (slab?.capacity ?? 0)) return;
      if (needed === 0) this.#free(layer);
      else await this.#resize(layer, needed);
    });
  }

  load(layer: number, expert: number, shard: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#inTurn(layer, async () => {
      const slab = await this.#withRoom(layer, expert);
      const slot = slab.slots.get(expert) ?? freeSlot(slab);
      this.#device.queue.writeBuffer(slab.buffer, slot * this.#shardBytes, shard);
      slab.slots.set(expert, slot);
      this.#pendingUploadBytes += shard.byteLength;
      if (this.#pendingUploadBytes <= MAX_PENDING_UPLOAD_BYTES) return;
      this.#pendingUploadBytes = 0;
      await this.#device.queue.onSubmittedWorkDone();
    });
  }

  unload(layer: number, expert: number): void {
    const slab = this.#slabs.get(layer);
    if (slab?.slots.delete(expert) && slab.slots.size === 0) this.#free(layer);
  }

  destroy(): void {
    this.#destroyed = true;
    for (const layer of this.#slabs.keys()) this.#free(layer);
  }

  async #withRoom(layer: number, expert: number): Promise<Slab> {
    const slab = this.#slabs.get(layer);
    if (slab && (slab.slots.has(expert) || slab.slots.size < slab.capacity)) return slab;
    const held = slab?.slots.size ?? 0;
    return this.#resize(layer, Math.min(this.#maxExperts, Math.ceil((held + 1) * (held === 0 ? 1 : GROWTH))), held + 1);
  }

  /** Replace the layer's slab by one of `capacity`, keeping its experts. */
  async #resize(layer: number, capacity: number, needed = capacity): Promise<Slab> {
    if (needed > this.#maxExperts) {
      throw new KernelError(
        'limits',
        `layer ${layer} would hold ${needed} experts; this GPU binds ${this.#maxExperts} at most (${this.#shardBytes} bytes each)`,
      );
    }
    const size = capacity * this.#shardBytes;
    const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
    const { buffer, failure } = allocate(this.#device, { label: `experts of layer ${layer}`, size, usage });
    const error = await failure;
    if (error || this.#destroyed) {
      buffer.destroy();
      throw error ?? new KernelError('device-lost', 'the backend was destroyed while experts were being loaded');
    }
    // Read only now: experts may have been unloaded meanwhile, even the last one.
    const old = this.#slabs.get(layer);
    const slab: Slab = { buffer, capacity, slots: new Map() };
    if (old) this.#copyExperts(old, slab);
    this.#free(layer);
    this.#slabs.set(layer, slab);
    this.#allocatedBytes += size;
    return slab;
  }

  #copyExperts(from: Slab, to: Slab): void {
    const encoder = this.#device.createCommandEncoder();
    for (const [expert, slot] of from.slots) {
      const target = to.slots.size;
      encoder.copyBufferToBuffer(
        from.buffer,
        slot * this.#shardBytes,
        to.buffer,
        target * this.#shardBytes,
        this.#shardBytes,
      );
      to.slots.set(expert, target);
    }
    this.#device.queue.submit([encoder.finish()]);
  }

  /** A destroyed buffer stays alive until the work submitted on it is done. */
  #free(layer: number): void {
    const slab = this.#slabs.get(layer);
    if (!slab) return;
    slab.buffer.destroy();
    this.#allocatedBytes -= slab.capacity * this.#shardBytes;
    this.#slabs.delete(layer);
  }

  #inTurn(layer: number, work: () => Promise<void>): Promise<void> {
    const turn = (this.#tails.get(layer) ?? Promise.resolve()).then(() => {
      if (this.#destroyed) throw new KernelError('device-lost', 'the backend was destroyed');
      return work();
    });
    const tail = turn.catch(() => {});
    this.#tails.set(layer, tail);
    return turn;
  }
}

function freeSlot(slab: Slab): number {
  const taken = new Set(slab.slots.values());
  for (let slot = 0; slot < slab.capacity; slot++) {
    if (!taken.has(slot)) return slot;
  }
  throw new KernelError('limits', `no free slot among ${slab.capacity}`);
}
