import type { SequenceCache, SequencePages } from '@shoal/model';

/** Positions of a page, as packages/kernels/wasm/assembly/engine/cache.ts has it. */
export const PAGE_POSITIONS = 16;
const BYTES_PER_VALUE = 2;

/** A sequence needs a page and none is left. */
export class KvMemoryError extends Error {
  constructor(budgetBytes: number) {
    super(
      `the KV cache's ${budgetBytes} bytes are all in use: fewer or shorter requests at a time, or more --kv-memory`,
    );
    this.name = 'KvMemoryError';
  }
}

export interface PageGeometry {
  /** Layers that a page has positions of. */
  numLayers: number;
  /** Values per position and layer, in 16 bits each. */
  width: number;
}

/** Bytes of a page in a bank that holds so many of the layers. */
export function pageBytes(numLayers: number, width: number): number {
  return numLayers * PAGE_POSITIONS * width * BYTES_PER_VALUE;
}

/**
 * The pages of the 16-bit KV cache: which are free, and how many sequences hold each. Every page has a place in every bank;
 * where that is, is for the banks to know.
 */
export class PagePool {
  readonly geometry: PageGeometry;
  readonly numPages: number;
  readonly bytesPerPage: number;
  /** Copies a page's bytes to another page, in every bank. */
  readonly copyPage: (from: number, to: number) => void;
  readonly #holders: Uint32Array;
  readonly #free: number[] = [];
  #fresh = 0;

  constructor(geometry: PageGeometry, budgetBytes: number, copyPage: (from: number, to: number) => void) {
    this.geometry = geometry;
    this.bytesPerPage = pageBytes(geometry.numLayers, geometry.width);
    this.numPages = Math.max(1, Math.floor(budgetBytes / this.bytesPerPage));
    this.copyPage = copyPage;
    this.#holders = new Uint32Array(this.numPages);
  }

  get bytesPerToken(): number {
    return this.bytesPerPage / PAGE_POSITIONS;
  }

  get budgetBytes(): number {
    return this.numPages * this.bytesPerPage;
  }

  /** Of pages that a sequence holds, each once. */
  get bytesInUse(): number {
    return (this.#fresh - this.#free.length) * this.bytesPerPage;
  }

  get freePages(): number {
    return this.numPages - this.#fresh + this.#free.length;
  }

  holders(page: number): number {
    return this.#holders[page]!;
  }

  /** Throws a KvMemoryError. */
  take(): number {
    // Pages used before come first: their memory is already there.
    const page = this.#free.pop() ?? (this.#fresh < this.numPages ? this.#fresh++ : undefined);
    if (page === undefined) throw new KvMemoryError(this.budgetBytes);
    this.#holders[page] = 1;
    return page;
  }

  hold(page: number): void {
    this.#holders[page]!++;
  }

  release(page: number): void {
    if (--this.#holders[page]! === 0) this.#free.push(page);
  }
}

/** One sequence's pages, in order of position. */
export class PagedCache implements SequenceCache {
  readonly pool: PagePool;
  readonly pages: number[] = [];
  #length = 0;

  constructor(pool: PagePool) {
    this.pool = pool;
  }

  get length(): number {
    return this.#length;
  }

  get allocatedBytes(): number {
    return this.pages.length * this.pool.bytesPerPage;
  }

  /** Make room for `count` more positions. Throws a KvMemoryError, and then nothing has changed. */
  append(count: number): void {
    const before = this.pages.length;
    const length = this.#length + count;
    try {
      if (count > 0) this.#ownLastPage();
      while (this.pages.length * PAGE_POSITIONS < length) this.pages.push(this.pool.take());
    } catch (error) {
      while (this.pages.length > before) this.pool.release(this.pages.pop()!);
      throw error;
    }
    this.#length = length;
  }

  truncate(length: number): void {
    if (!Number.isInteger(length) || length < 0 || length > this.#length) {
      throw new RangeError(`KV cache: cannot truncate ${this.#length} positions to ${length}`);
    }
    this.#length = length;
    while (this.pages.length > Math.ceil(length / PAGE_POSITIONS)) this.pool.release(this.pages.pop()!);
  }

  free(): void {
    this.truncate(0);
  }

  /** A new sequence with this one's first positions, of whole pages up to `length`; the pages are shared, not copied. */
  fork(length: number): PagedCache {
    const shared = new PagedCache(this.pool);
    const pages = Math.floor(Math.min(length, this.#length) / PAGE_POSITIONS);
    for (const page of this.pages.slice(0, pages)) {
      this.pool.hold(page);
      shared.pages.push(page);
    }
    shared.#length = pages * PAGE_POSITIONS;
    return shared;
  }

  /** What others hold too must not be written to. */
  #ownLastPage(): void {
    if (this.#length % PAGE_POSITIONS === 0) return;
    const last = this.pages.length - 1;
    const page = this.pages[last]!;
    if (this.pool.holders(page) === 1) return;
    const own = this.pool.take();
    this.pool.copyPage(page, own);
    this.pool.release(page);
    this.pages[last] = own;
  }
}

/** A sequence on pages that somebody else gives out. */
export class LentCache implements SequenceCache {
  readonly pool: PagePool;
  readonly #lent: SequencePages;

  constructor(pool: PagePool, lent: SequencePages) {
    this.pool = pool;
    this.#lent = lent;
  }

  get pages(): readonly number[] {
    return this.#lent.pages;
  }

  get length(): number {
    return this.#lent.length;
  }

  /** Shared pages too. */
  get allocatedBytes(): number {
    return this.pages.length * this.pool.bytesPerPage;
  }

  append(count: number): void {
    this.#lent.append(count);
  }

  truncate(length: number): void {
    this.#lent.truncate(length);
  }

  free(): void {
    this.#lent.close();
  }
}

/** The MTP module's positions of a sequence on lent pages: they lie in the same pages, in memory of the module's own. */
export class LentMtpCache implements SequenceCache {
  readonly pool: PagePool;
  readonly #lent: SequencePages;
  #length: number;

  /** `length` positions are there already. */
  constructor(pool: PagePool, lent: SequencePages, length: number) {
    this.pool = pool;
    this.#lent = lent;
    this.#length = length;
  }

  get pages(): readonly number[] {
    return this.#lent.pages;
  }

  get length(): number {
    return this.#length;
  }

  /** Shared pages too. */
  get allocatedBytes(): number {
    return this.pages.length * this.pool.bytesPerPage;
  }

  append(count: number): void {
    this.#lent.reach(this.#length + count);
    this.#length += count;
  }

  truncate(length: number): void {
    if (!Number.isInteger(length) || length < 0 || length > this.#length) {
      throw new RangeError(`KV cache: cannot truncate ${this.#length} positions to ${length}`);
    }
    this.#length = length;
  }

  /** The pages are the main model's to give back. */
  free(): void {
    this.#length = 0;
  }
}
