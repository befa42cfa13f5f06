import { alignUp } from '@shoal/weights';
import { KernelError } from '../backend.ts';
import { FIRST_FREE_BYTE, MAX_PAGES, PAGE_BYTES, type ExpertExports } from './exports.ts';

/** Fewer pages of address space than this are of no use. */
const MIN_MAX_PAGES = 4096;

/** The memory of one instance: slots of one expert each, and regions for laps. It grows as needed and never shrinks. */
export class ShardMemory {
  readonly memory: WebAssembly.Memory;
  readonly exports: ExpertExports;
  readonly #slotBytes: number;
  readonly #free: number[] = [];
  #end = FIRST_FREE_BYTE;
  #work = { address: 0, bytes: 0 };

  private constructor(memory: WebAssembly.Memory, exports: ExpertExports, slotBytes: number) {
    this.memory = memory;
    this.exports = exports;
    this.#slotBytes = alignUp(slotBytes);
  }

  /** Throws KernelError `out-of-memory`. */
  static async create(module: WebAssembly.Module, shared: boolean, slotBytes: number): Promise<ShardMemory> {
    const memory = newMemory(shared);
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    return new ShardMemory(memory, instance.exports as unknown as ExpertExports, slotBytes);
  }

  /** Largest number of slots within 32-bit addresses, less 64 MiB for laps. */
  static maxSlots(slotBytes: number): number {
    return Math.floor((MAX_PAGES * PAGE_BYTES - 2 ** 26) / alignUp(slotBytes));
  }

  /** The address of a free slot. Throws KernelError `out-of-memory`. */
  take(): number {
    return this.#free.pop() ?? this.region(this.#slotBytes);
  }

  /** Copies bytes into the region for intermediate results, until the next lap. Throws KernelError `out-of-memory`. */
  stage(bytes: Uint8Array): number {
    const address = this.work(bytes.length);
    new Uint8Array(this.memory.buffer, address, bytes.length).set(bytes);
    return address;
  }

  free(address: number): void {
    this.#free.push(address);
  }

  /** Grows the memory for some more slots. Throws KernelError `out-of-memory`. */
  reserve(slots: number): void {
    this.#growTo(this.#end + Math.max(0, slots - this.#free.length) * this.#slotBytes);
  }

  /** The address of the region for intermediate results, with room for `bytes`. */
  work(bytes: number): number {
    if (bytes > this.#work.bytes) this.#work = { address: this.region(bytes), bytes };
    return this.#work.address;
  }

  /** Reserves a zeroed region for good and returns its address. */
  region(bytes: number): number {
    const address = this.#end;
    this.#growTo(address + alignUp(bytes));
    this.#end = address + alignUp(bytes);
    return address;
  }

  #growTo(neededBytes: number): void {
    const missingPages = Math.ceil((neededBytes - this.memory.buffer.byteLength) / PAGE_BYTES);
    if (missingPages <= 0) return;
    if (neededBytes > MAX_PAGES * PAGE_BYTES) {
      throw new KernelError('out-of-memory', `${neededBytes} bytes exceed WebAssembly's 4 GiB; lend less`);
    }
    try {
      this.memory.grow(missingPages);
    } catch (cause) {
      throw new KernelError('out-of-memory', `the host has no ${neededBytes} bytes of memory; lend less`, { cause });
    }
  }
}

function newMemory(shared: boolean): WebAssembly.Memory {
  let cause: unknown;
  // The maximum reserves address space, of which phones and 32-bit browsers may not have enough.
  for (let maximum = MAX_PAGES; maximum >= MIN_MAX_PAGES; maximum /= 2) {
    try {
      return new WebAssembly.Memory({ initial: 1, maximum, shared });
    } catch (error) {
      cause = error;
    }
  }
  const message = 'the host has no memory for WebAssembly; close other tabs or programs';
  throw new KernelError('out-of-memory', message, { cause });
}
