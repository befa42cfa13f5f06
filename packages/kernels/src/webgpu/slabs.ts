import { KernelError } from '../backend.ts';
import type { ExpertPlace } from '../wgsl/expert-ffn/lap-items.ts';
import { allocate, USAGE } from './allocate.ts';

/** Without a reservation a layer grows by half, so that loading n experts copies each a few times rather than n times. */
const GROWTH = 1.5;
/** Bytes uploaded before waiting for the queue: writeBuffer copies them, and copies of all experts would not fit in memory. */
const MAX_PENDING_UPLOAD_BYTES = 64 * 1024 * 1024;

/** Some experts of one layer in one buffer, shard after shard. */
interface Slab {
  buffer: GPUBuffer;
  capacity: number;
  /** By expert. */
  slots: Map<number, number>;
}

/**
 * The weights on the GPU: for each layer the fewest slabs that hold its experts, each no larger than the device binds at once.
 * All slabs of a layer but the last have the largest size. The queue runs in order, so a slab may be copied, replaced or written
 * while laps that were submitted earlier still read it.
 */
export class Slabs {
  readonly #device: GPUDevice;
  readonly #shardBytes: number;
  readonly #maxPerSlab: number;
  readonly #layers = new Map<number, Slab[]>();
  /** The last allocation or load of each layer, after which the next one starts. */
  readonly #tails = new Map<number, Promise<void>>();
  #allocatedBytes = 0;
  #pendingUploadBytes = 0;
  #destroyed = false;

  constructor(device: GPUDevice, shardBytes: number, maxPerSlab: number) {
    this.#device = device;
    this.#shardBytes = shardBytes;
    this.#maxPerSlab = maxPerSlab;
  }

  get allocatedBytes(): number {
    return this.#allocatedBytes;
  }

  /** Largest number of slabs of a layer. */
  get maxSlabs(): number {
    return Math.max(0, ...[...this.#layers.values()].map((slabs) => slabs.length));
  }

  place(layer: number, expert: number): ExpertPlace | undefined {
    for (const { buffer, slots } of this.#layers.get(layer) ?? []) {
      const slot = slots.get(expert);
      if (slot !== undefined) return { slab: buffer, slot };
    }
    return undefined;
  }

  /** Resizes the layer's slabs to exactly these experts and those they hold. */
  reserve(layer: number, experts: readonly number[]): Promise<void> {
    return this.#inTurn(layer, async () => {
      const slabs = this.#layers.get(layer) ?? [];
      const needed = new Set([...experts, ...slabs.flatMap(({ slots }) => [...slots.keys()])]).size;
      if (needed === capacityOf(slabs)) return;
      if (needed === 0) this.#free(layer);
      else await this.#resize(layer, needed);
    });
  }

  load(layer: number, expert: number, shard: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#inTurn(layer, async () => {
      await this.#makeRoom(layer, expert);
      const slabs = this.#layers.get(layer)!;
      const slab = slabs.find(({ slots }) => slots.has(expert)) ?? slabs.find(hasRoom)!;
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
    const slabs = this.#layers.get(layer) ?? [];
    const hadIt = slabs.some(({ slots }) => slots.delete(expert));
    if (hadIt && slabs.every(({ slots }) => slots.size === 0)) this.#free(layer);
  }

  destroy(): void {
    this.#destroyed = true;
    for (const layer of this.#layers.keys()) this.#free(layer);
  }

  async #makeRoom(layer: number, expert: number): Promise<void> {
    const slabs = this.#layers.get(layer) ?? [];
    if (slabs.some((slab) => slab.slots.has(expert) || hasRoom(slab))) return;
    const held = capacityOf(slabs);
    const grown = Math.ceil((held + 1) * (held === 0 ? 1 : GROWTH));
    // A slab is filled before another is opened.
    const endOfSlab = Math.ceil((held + 1) / this.#maxPerSlab) * this.#maxPerSlab;
    await this.#resize(layer, Math.min(grown, endOfSlab));
  }

  /** Replaces the layer's smaller slabs so that all slabs together have room for `capacity` experts. */
  async #resize(layer: number, capacity: number): Promise<void> {
    const numWhole = Math.floor(capacity / this.#maxPerSlab);
    const before = this.#layers.get(layer) ?? [];
    const numKept = Math.min(numWhole, before.filter((slab) => slab.capacity === this.#maxPerSlab).length);
    const capacities = Array.from({ length: numWhole - numKept }, () => this.#maxPerSlab);
    if (capacity % this.#maxPerSlab > 0) capacities.push(capacity % this.#maxPerSlab);
    const made = await this.#allocateAll(layer, capacities);
    // Read after the wait, during which experts may have been unloaded, even the last one.
    const now = this.#layers.get(layer) ?? [];
    const kept = now.slice(0, numKept);
    const dropped = now.slice(numKept);
    this.#layers.set(layer, [...kept, ...made]);
    this.#move(dropped, [...kept, ...made]);
    this.#forget(dropped);
  }

  /** Allocates all slabs or none. */
  async #allocateAll(layer: number, capacities: readonly number[]): Promise<Slab[]> {
    const made: Slab[] = [];
    const usage = USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST;
    for (const capacity of capacities) {
      const size = capacity * this.#shardBytes;
      const { buffer, failure } = allocate(this.#device, { label: `experts of layer ${layer}`, size, usage });
      made.push({ buffer, capacity, slots: new Map() });
      this.#allocatedBytes += size;
      const error = await failure;
      if (error || this.#destroyed) {
        this.#forget(made);
        throw error ?? new KernelError('device-lost', 'the backend was destroyed while experts were being loaded');
      }
    }
    return made;
  }

  #move(from: readonly Slab[], to: readonly Slab[]): void {
    const encoder = this.#device.createCommandEncoder();
    for (const { buffer, slots } of from) {
      for (const [expert, slot] of slots) {
        const target = to.find(hasRoom)!;
        const targetSlot = freeSlot(target);
        target.slots.set(expert, targetSlot);
        const [source, end] = [slot * this.#shardBytes, targetSlot * this.#shardBytes];
        encoder.copyBufferToBuffer(buffer, source, target.buffer, end, this.#shardBytes);
      }
    }
    this.#device.queue.submit([encoder.finish()]);
  }

  #free(layer: number): void {
    this.#forget(this.#layers.get(layer) ?? []);
    this.#layers.delete(layer);
  }

  /** Destroys slabs. A destroyed buffer stays alive until the work submitted on it is done. */
  #forget(slabs: readonly Slab[]): void {
    for (const { buffer, capacity } of slabs) {
      buffer.destroy();
      this.#allocatedBytes -= capacity * this.#shardBytes;
    }
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

const capacityOf = (slabs: readonly Slab[]): number => slabs.reduce((sum, { capacity }) => sum + capacity, 0);
const hasRoom = ({ slots, capacity }: Slab): boolean => slots.size < capacity;

function freeSlot(slab: Slab): number {
  const taken = new Set(slab.slots.values());
  for (let slot = 0; slot < slab.capacity; slot++) {
    if (!taken.has(slot)) return slot;
  }
  throw new KernelError('limits', `no free slot among ${slab.capacity}`);
}
