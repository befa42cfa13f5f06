import { KernelError } from '../backend.ts';
import { MAX_PAGES, PAGE_BYTES, type ExpertExports } from './exports.ts';

/** The module's own constants lie in the first page. */
const FIRST_FREE_BYTE = PAGE_BYTES;
/** Below this many pages of address space there is no use in trying. */
const MIN_MAX_PAGES = 4096;

function align(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}

/**
 * The memory of one instance: slots of one expert each, and regions for work. It grows by what is asked for, and gives
 * nothing back but by being dropped whole.
 */
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
    this.#slotBytes = align(slotBytes);
  }

  /** Throws KernelError `out-of-memory`. */
  static async create(module: WebAssembly.Module, shared: boolean, slotBytes: number): Promise<ShardMemory> {
    const memory = newMemory(shared);
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    return new ShardMemory(memory, instance.exports as unknown as ExpertExports, slotBytes);
  }

  /** Most slots that 32-bit addresses reach, with a little room for work. */
  static maxSlots(slotBytes: number): number {
    return Math.floor((MAX_PAGES * PAGE_BYTES - 2 ** 26) / align(slotBytes));
  }

  /** The address of a free slot. Throws KernelError `out-of-memory`. */
  take(): number {
    return this.#free.pop() ?? this.region(this.#slotBytes);
  }

  /** Bytes where intermediate results lie: the address, until the next lap. Throws KernelError `out-of-memory`. */
  stage(bytes: Uint8Array): number {
    const address = this.work(bytes.length);
    new Uint8Array(this.memory.buffer, address, bytes.length).set(bytes);
    return address;
  }

  free(address: number): void {
    this.#free.push(address);
  }

  /** Grow so that so many more slots are there. Throws KernelError `out-of-memory`. */
  reserve(slots: number): void {
    this.#growTo(this.#end + Math.max(0, slots - this.#free.length) * this.#slotBytes);
  }

  /** The address of so many bytes for intermediate results; the same ones each time. */
  work(bytes: number): number {
    if (bytes > this.#work.bytes) this.#work = { address: this.region(bytes), bytes };
    return this.#work.address;
  }

  /** A region, zero and never given back. */
  region(bytes: number): number {
    const address = this.#end;
    this.#growTo(address + align(bytes));
    this.#end = address + align(bytes);
    return address;
  }

  #growTo(neededBytes: number): void {
    const missingPages = Math.ceil((neededBytes - this.memory.buffer.byteLength) / PAGE_BYTES);
    if (missingPages <= 0) return;
    if (neededBytes > MAX_PAGES * PAGE_BYTES) {
      throw new KernelError('out-of-memory', `${neededBytes} bytes, and WebAssembly addresses 4 GiB; lend less`);
    }
    try {
      this.memory.grow(missingPages);
    } catch (cause) {
      throw new KernelError('out-of-memory', `there are no ${neededBytes} bytes of memory to be had; lend less`, {
        cause,
      });
    }
  }
}

function newMemory(shared: boolean): WebAssembly.Memory {
  let failure: unknown;
  // Address space is set aside for the maximum, which phones and 32-bit browsers may not have.
  for (let maximum = MAX_PAGES; maximum >= MIN_MAX_PAGES; maximum /= 2) {
    try {
      return new WebAssembly.Memory({ initial: 1, maximum, shared });
    } catch (error) {
      failure = error;
    }
  }
  throw new KernelError('out-of-memory', 'the host has no memory for WebAssembly; close other tabs or programs', {
    cause: failure,
  });
}
