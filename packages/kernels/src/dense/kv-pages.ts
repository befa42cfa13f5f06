import { checkTruncate, type SequenceCache, type SequencePages } from '@shoal/model';

/** Positions of a page; the same as in packages/kernels/wasm/assembly/dense/cache.ts. */
export const PAGE_POSITIONS = 16;
const BYTES_PER_VALUE = 2;
/** One each for the two parts that a position caches in a layer. */
const EXPONENT_BYTES = 2;

/** A sequence needs a page, and none is left. */
export class KvMemoryError extends Error {
  constructor(budgetBytes: number) {
    const remedy = 'send fewer or shorter requests at a time, or raise --kv-memory';
    super(`the KV cache's ${budgetBytes} bytes are all in use: ${remedy}`);
    this.name = 'KvMemoryError';
  }
}

export interface PageGeometry {
  /** Layers whose positions a page holds. */
  numLayers: number;
  /** Values per position and layer. */
  width: number;
}

/** Bytes of a position in one layer: `width` f16, and the exponents that carry them beyond f16's range. */
export function positionBytes(width: number): number {
  return width * BYTES_PER_VALUE + EXPONENT_BYTES;
}

/** Bytes of a page in a bank with `numLayers` layers. */
export function pageBytes(numLayers: number, width: number): number {
  return numLayers * PAGE_POSITIONS * positionBytes(width);
}

/** The pages of the 16-bit KV cache: which are free, and how many sequences hold each. Every page has a place in every bank. */
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

  /** Bytes of pages that sequences hold, shared pages counted once. */
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
    // Pages that were used before come first, since their memory is already allocated.
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

  /** Makes room for `count` more positions. Throws a KvMemoryError without having changed anything. */
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
    checkTruncate(this.#length, length);
    this.#length = length;
    while (this.pages.length > Math.ceil(length / PAGE_POSITIONS)) this.pool.release(this.pages.pop()!);
  }

  free(): void {
    this.truncate(0);
  }

  /** A new sequence with the whole pages among this one's first `length` positions. The pages are shared, not copied. */
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

  /** Copies the last page before it is written to, if other sequences hold it too. */
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

/** A sequence on pages that the caller has borrowed and shares out (`lendPages`). */
export class LentCache implements SequenceCache {
  readonly pool: PagePool;
  protected readonly lent: SequencePages;

  constructor(pool: PagePool, lent: SequencePages) {
    this.pool = pool;
    this.lent = lent;
  }

  get pages(): readonly number[] {
    return this.lent.pages;
  }

  get length(): number {
    return this.lent.length;
  }

  /** Shared pages included. */
  get allocatedBytes(): number {
    return this.pages.length * this.pool.bytesPerPage;
  }

  append(count: number): void {
    this.lent.append(count);
  }

  truncate(length: number): void {
    this.lent.truncate(length);
  }

  free(): void {
    this.lent.close();
  }
}

/** The MTP module's positions of a sequence on lent pages: the same pages, in the module's own memory. */
export class LentMtpCache extends LentCache {
  #length: number;

  /** `length` positions have been computed before. */
  constructor(pool: PagePool, lent: SequencePages, length: number) {
    super(pool, lent);
    this.#length = length;
  }

  override get length(): number {
    return this.#length;
  }

  override append(count: number): void {
    this.lent.reach(this.#length + count);
    this.#length += count;
  }

  override truncate(length: number): void {
    checkTruncate(this.#length, length);
    this.#length = length;
  }

  /** Keeps the pages, which belong to the main model's sequence. */
  override free(): void {
    this.#length = 0;
  }
}
