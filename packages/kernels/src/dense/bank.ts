import { alignUp } from '@shoal/weights';
import { FIRST_FREE_BYTE, MAX_PAGES, PAGE_BYTES } from '../wasm/exports.ts';

/** One page less than 4 GiB, so that no address is 2^32. */
export const MAX_BANK_BYTES = (MAX_PAGES - 1) * PAGE_BYTES;

/**
 * One memory of at most 4 GiB, the range of 32-bit addresses: some layers' weights and KV cache, and workspaces. Memory that is
 * never written costs only address space.
 */
export class Bank {
  readonly memory: WebAssembly.Memory;
  readonly limitBytes: number;
  readonly shared: boolean;
  #end = FIRST_FREE_BYTE;
  #views: { buffer: ArrayBufferLike; u8: Uint8Array; i32: Int32Array; f32: Float32Array } | undefined;

  constructor(limitBytes: number, shared: boolean) {
    this.limitBytes = Math.min(limitBytes, MAX_BANK_BYTES);
    this.shared = shared;
    const maximum = Math.ceil(this.limitBytes / PAGE_BYTES);
    this.memory = new WebAssembly.Memory({ initial: 1, maximum, shared });
  }

  get usedBytes(): number {
    return this.#end;
  }

  /** Reserves bytes and returns their address. Throws a RangeError beyond the limit. */
  reserve(bytes: number): number {
    const address = this.#end;
    this.reach(address + bytes);
    this.#end = alignUp(address + bytes);
    return address;
  }

  /** Grows the memory to `end`, which may lie behind the reserved part. Throws a RangeError beyond the limit. */
  reach(end: number): void {
    const { byteLength } = this.memory.buffer;
    if (end <= byteLength) return;
    if (end > this.limitBytes) throw new RangeError(`a bank of ${this.limitBytes} bytes cannot hold ${end} bytes`);
    this.memory.grow(Math.ceil((end - byteLength) / PAGE_BYTES));
  }

  /** Views of the whole memory. They must not be kept, since the memory may grow. */
  get views(): { u8: Uint8Array; i32: Int32Array; f32: Float32Array } {
    const { buffer } = this.memory;
    if (this.#views?.buffer !== buffer) {
      this.#views = { buffer, u8: new Uint8Array(buffer), i32: new Int32Array(buffer), f32: new Float32Array(buffer) };
    }
    return this.#views;
  }
}
