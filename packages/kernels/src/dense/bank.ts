/** A WebAssembly page. */
const PAGE_BYTES = 65_536;
/** 4 GiB less a page, so that no address is 2^32. */
export const MAX_BANK_BYTES = 65_535 * PAGE_BYTES;
/** The module's own constants lie in the first page. */
const FIRST_FREE_BYTE = PAGE_BYTES;
const ALIGN_BYTES = 64;

/** Where the next of several areas may begin, a cache line apart from the one before. */
export const aligned = (bytes: number): number => Math.ceil(bytes / ALIGN_BYTES) * ALIGN_BYTES;

/**
 * One memory of at most 4 GiB, all that 32-bit addresses reach: some layers' weights and KV cache, and room to work. What is
 * never written costs address space only.
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

  /** The address of so many bytes more. Throws a RangeError beyond the limit. */
  reserve(bytes: number): number {
    const address = this.#end;
    this.reach(address + bytes);
    this.#end = aligned(address + bytes);
    return address;
  }

  /** Have memory up to `end`, which may lie behind what is reserved. Throws a RangeError beyond the limit. */
  reach(end: number): void {
    const { byteLength } = this.memory.buffer;
    if (end <= byteLength) return;
    if (end > this.limitBytes)
      throw new RangeError(`${end} bytes of memory are needed in a bank of ${this.limitBytes}`);
    this.memory.grow(Math.ceil((end - byteLength) / PAGE_BYTES));
  }

  /** Views of the whole memory; not to be kept, since memory may grow. */
  get views(): { u8: Uint8Array; i32: Int32Array; f32: Float32Array } {
    const { buffer } = this.memory;
    if (this.#views?.buffer !== buffer) {
      this.#views = { buffer, u8: new Uint8Array(buffer), i32: new Int32Array(buffer), f32: new Float32Array(buffer) };
    }
    return this.#views;
  }
}
