import {
  checkKeep,
  checkTruncate,
  type KvPaging,
  type PageTable,
  type SequenceCache,
  type SequencePages,
} from '@shoal/model';

/** Positions of a page; the same as in packages/kernels/wasm/assembly/dense/cache.ts. */
export const PAGE_POSITIONS = 16;
export const BYTES_PER_VALUE = 2;
/** One each for the two parts that a position caches in a layer. */
export const EXPONENT_BYTES = 2;

/** A sequence needs a page, and none is left. */
export class KvMemoryError extends Error {
  constructor(budgetBytes: number) {
    const remedy = 'send fewer or shorter requests at a time, or raise --kv-memory';
    super(`the KV cache's ${budgetBytes} bytes are all in use: ${remedy}`);
    this.name = 'KvMemoryError';
  }
}

export interface PageGeometry {
  /** Which layers a page holds. */
  paging: KvPaging;
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

/** A place in a page: a position's, in the page of its table. */
export interface PagePlace {
  page: number;
  /** From 0 to PAGE_POSITIONS − 1. */
  index: number;
}

/** Copies within the memory of pages, in every bank. */
export interface PageCopier {
  page(from: number, to: number): void;
  /** Copies one position of all layers of a page. */
  position(from: PagePlace, to: PagePlace): void;
}

/** The pages of the 16-bit KV cache: which are free, and how many sequences hold each. Every page has a place in every bank. */
export class PagePool {
  readonly geometry: PageGeometry;
  readonly numPages: number;
  readonly bytesPerPage: number;
  readonly #copier: PageCopier;
  readonly #holders: Uint32Array;
  readonly #free: number[] = [];
  #fresh = 0;

  constructor(geometry: PageGeometry, budgetBytes: number, copier: PageCopier) {
    this.geometry = geometry;
    this.bytesPerPage = pageBytes(geometry.paging.layersPerPage, geometry.width);
    this.numPages = Math.max(1, Math.floor(budgetBytes / this.bytesPerPage));
    this.#copier = copier;
    this.#holders = new Uint32Array(this.numPages);
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

  copyPage(from: number, to: number): void {
    this.#copier.page(from, to);
  }

  /** Copies positions of a sequence to others of it, in this order. */
  move(tables: readonly PageTable[], moves: readonly { from: number; to: number }[]): void {
    for (const { first, pages } of tables) {
      const placeOf = (position: number): PagePlace => {
        return { page: pages[Math.floor(position / PAGE_POSITIONS) - first]!, index: position % PAGE_POSITIONS };
      };
      for (const { from, to } of moves) if (from !== to) this.#copier.position(placeOf(from), placeOf(to));
    }
  }

  hold(page: number): void {
    this.#holders[page]!++;
  }

  release(page: number): void {
    if (--this.#holders[page]! === 0) this.#free.push(page);
  }
}

interface OwnTable extends PageTable {
  first: number;
  readonly pages: number[];
}

/** One sequence's pages. */
export class PagedCache implements SequenceCache {
  readonly pool: PagePool;
  readonly tables: readonly OwnTable[];
  sourceLength = 0;
  #length = 0;

  constructor(pool: PagePool) {
    this.pool = pool;
    const { fullTables, windowTables } = pool.geometry.paging;
    this.tables = Array.from({ length: fullTables + windowTables }, () => ({ first: 0, pages: [] }));
  }

  get length(): number {
    return this.#length;
  }

  get allocatedBytes(): number {
    return allocatedBytes(this);
  }

  /**
   * Makes room for `count` more positions, and gives back the pages that no position from here on attends to. Throws a
   * KvMemoryError without having taken any.
   */
  append(count: number): void {
    this.#passWindows();
    const end = Math.ceil((this.#length + count) / PAGE_POSITIONS);
    const before = this.tables.map(({ pages }) => pages.length);
    try {
      if (count > 0) for (const table of this.tables) this.#ownLastPage(table);
      for (const { first, pages } of this.tables) while (first + pages.length < end) pages.push(this.pool.take());
    } catch (error) {
      for (const [t, { pages }] of this.tables.entries()) {
        while (pages.length > before[t]!) this.pool.release(pages.pop()!);
      }
      throw error;
    }
    this.#length += count;
  }

  /** Throws a RangeError where the next position would attend to pages that were given back. */
  truncate(length: number): void {
    checkTruncate(this.#length, length);
    const firstNeeded = this.#firstOfWindow(length);
    if (length > 0 && this.#windowTables.some(({ first }) => first > firstNeeded))
      throw new RangeError(`KV cache: the window before position ${length} was given back; start again from 0`);
    this.#length = length;
    const end = Math.ceil(length / PAGE_POSITIONS);
    for (const table of this.tables) {
      while (table.pages.length > 0 && table.first + table.pages.length > end) this.pool.release(table.pages.pop()!);
      if (length === 0) table.first = 0;
    }
  }

  keep(length: number, slots: readonly number[]): void {
    keepSlots(this, length, slots);
  }

  free(): void {
    this.truncate(0);
  }

  /**
   * A new sequence with the whole pages among this one's first `length` positions; empty where the window before its end was
   * given back. The pages are shared, not copied.
   */
  fork(length: number): PagedCache {
    const shared = new PagedCache(this.pool);
    const end = Math.floor(Math.min(length, this.#length) / PAGE_POSITIONS);
    const firstNeeded = this.#firstOfWindow(end * PAGE_POSITIONS);
    if (this.#windowTables.some(({ first }) => first > firstNeeded)) return shared;
    for (const [t, { first, pages }] of this.tables.entries()) {
      const to = shared.tables[t]!;
      to.first = first;
      for (const page of pages.slice(0, Math.max(0, end - first))) {
        this.pool.hold(page);
        to.pages.push(page);
      }
    }
    shared.#length = end * PAGE_POSITIONS;
    return shared;
  }

  get #windowTables(): readonly OwnTable[] {
    return this.tables.slice(this.pool.geometry.paging.fullTables);
  }

  /** The first page that rows from `position` on attend to in layers with windows. */
  #firstOfWindow(position: number): number {
    return Math.floor(Math.max(0, position - this.pool.geometry.paging.reach) / PAGE_POSITIONS);
  }

  #passWindows(): void {
    const firstNeeded = this.#firstOfWindow(this.#length);
    for (const table of this.#windowTables) {
      while (table.first < firstNeeded && table.pages.length > 0) {
        this.pool.release(table.pages.shift()!);
        table.first++;
      }
    }
  }

  /** Copies the last page before it is written to, if other sequences hold it too. */
  #ownLastPage({ pages }: OwnTable): void {
    if (this.#length % PAGE_POSITIONS === 0) return;
    const last = pages.length - 1;
    const page = pages[last]!;
    if (this.pool.holders(page) === 1) return;
    const own = this.pool.take();
    this.pool.copyPage(page, own);
    this.pool.release(page);
    pages[last] = own;
  }
}

/** `SequenceCache.keep` of a sequence on pages. */
function keepSlots(cache: PagedCache | LentCache, length: number, slots: readonly number[]): void {
  checkKeep(cache.length, length, slots);
  cache.pool.move(
    cache.tables,
    slots.map((from, i) => ({ from, to: length + i })),
  );
  cache.truncate(length + slots.length);
}

function allocatedBytes({ pool, tables }: { pool: PagePool; tables: readonly PageTable[] }): number {
  return tables.reduce((sum, { pages }) => sum + pages.length, 0) * pool.bytesPerPage;
}

/** A sequence on pages that the caller has borrowed and shares out (`lendPages`). */
export class LentCache implements SequenceCache {
  readonly pool: PagePool;
  sourceLength = 0;
  protected readonly lent: SequencePages;

  constructor(pool: PagePool, lent: SequencePages) {
    this.pool = pool;
    this.lent = lent;
  }

  get tables(): readonly PageTable[] {
    return this.lent.tables;
  }

  get length(): number {
    return this.lent.length;
  }

  /** Shared pages included. */
  get allocatedBytes(): number {
    return allocatedBytes(this);
  }

  append(count: number): void {
    this.lent.append(count);
  }

  truncate(length: number): void {
    this.lent.truncate(length);
  }

  keep(length: number, slots: readonly number[]): void {
    keepSlots(this, length, slots);
  }

  free(): void {
    this.lent.close();
  }
}

/** The MTP module's positions of a sequence on lent pages: those of the first table, in the module's own memory. */
export class LentMtpCache extends LentCache {
  #length: number;

  /** `length` positions have been computed before. */
  constructor(pool: PagePool, lent: SequencePages, length: number) {
    super(pool, lent);
    this.#length = length;
  }

  override get tables(): readonly PageTable[] {
    return this.lent.tables.slice(0, 1);
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
