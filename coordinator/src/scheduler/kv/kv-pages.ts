export interface KvPagesOptions {
  /** Pages in all: the memory budget divided by the bytes of a page. */
  numPages: number;
  /** Positions per page. */
  pagePositions: number;
}

/** A full page of known tokens. There may be one for each page of the budget, so it is kept small. */
interface PrefixNode {
  parent: PrefixNode | undefined;
  /** As `keyOf` makes it. */
  key: string;
  page: number;
  /** Sequences that use it, directly or through a later page. */
  users: number;
}

/**
 * Allocates the pages of the KV cache. A page holds `pagePositions` positions of all layers. Full pages of known tokens are
 * shared, without copying, by all sequences with the same beginning (paged attention and prefix caching: Kwon et al. 2023; Zheng
 * et al. 2024, RadixAttention). They outlive their sequences until their room is needed, the least recently used first. All that
 * a sequence may grow to is reserved when it begins, so that none runs out of room halfway.
 *
 * It handles page numbers only; the values lie in the dense engine's memory.
 */
export class KvPages {
  readonly pagePositions: number;
  readonly numPages: number;
  readonly #free: number[];
  /** Key → node: a tree without lists of children. */
  readonly #known = new Map<string, PrefixNode>();
  /** Nodes without users in order of last use; every node comes after its descendants. */
  readonly #idle = new Set<PrefixNode>();
  /** Pages reserved by sequences that have not taken them yet. */
  #reserved = 0;
  /** Positions reused, and positions opened in all, since start. */
  reusedPositions = 0;
  openedPositions = 0;

  constructor({ numPages, pagePositions }: KvPagesOptions) {
    this.numPages = numPages;
    this.pagePositions = pagePositions;
    this.#free = Array.from({ length: numPages }, (_, i) => numPages - 1 - i);
  }

  /** Pages that sequences hold or have reserved. */
  get usedPages(): number {
    return this.heldPages + this.#reserved;
  }

  /** Pages that sequences hold. */
  get heldPages(): number {
    return this.numPages - this.#free.length - this.#idle.size;
  }

  /** Pages without users, kept for prefix reuse. */
  get idlePages(): number {
    return this.#idle.size;
  }

  /** Whether a sequence of that length fits at all. */
  fits(positions: number): boolean {
    return this.#pagesFor(positions) <= this.numPages;
  }

  /**
   * Opens a sequence that starts with `ids` and grows to at most `maxLength` positions; undefined while there is no room. It
   * starts with the known pages of its beginning, at most `ids.length − 1` positions, so that one is left to compute. Only
   * sequences of the same `scope` share pages.
   */
  open(ids: readonly number[], maxLength: number, scope = ''): PagedSequence | undefined {
    const known = this.#find(ids.slice(0, ids.length - 1), scope);
    const needed = this.#pagesFor(maxLength) - known.length;
    const idleAfter = this.#idle.size - known.filter((node) => node.users === 0).length;
    if (needed > this.#free.length + idleAfter - this.#reserved) return undefined;
    for (const node of known) this.#use(node);
    this.#reserved += needed;
    this.openedPositions += ids.length;
    this.reusedPositions += known.length * this.pagePositions;
    return new PagedSequence(this, known.at(-1), scope, this.#pagesFor(maxLength));
  }

  /** Takes a reserved page. For PagedSequence. */
  take(): number {
    this.#reserved--;
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const oldest = this.#idle.values().next();
    if (oldest.done) throw new Error('KV pages: more were taken than set aside');
    this.#forget(oldest.value);
    return this.#free.pop()!;
  }

  /** Returns a page that is not shared; `again` keeps it reserved for its sequence. For PagedSequence. */
  give(page: number, again: boolean): void {
    this.#free.push(page);
    if (again) this.#reserved++;
  }

  /** Cancels the reservation of pages that were not taken. For PagedSequence. */
  unreserve(pages: number): void {
    this.#reserved -= pages;
  }

  /**
   * Makes known that `page` holds `ids` after the pages of `parent`. If another sequence has computed the same, its page is used
   * and `page` becomes free. For PagedSequence.
   */
  learn(parent: PrefixNode | undefined, scope: string, ids: readonly number[], page: number): PrefixNode {
    const key = keyOf(parent, scope, ids);
    const known = this.#known.get(key);
    if (known) {
      if (known.users === 0) this.#idle.delete(known);
      known.users++;
      this.#free.push(page);
      return known;
    }
    const node: PrefixNode = { parent, key, page, users: 1 };
    this.#known.set(key, node);
    return node;
  }

  /** Removes one user from the node and all nodes before it. For PagedSequence. */
  leave(node: PrefixNode | undefined): void {
    for (let at = node; at !== undefined; at = at.parent) {
      at.users--;
      if (at.users === 0) this.#idle.add(at);
    }
  }

  #pagesFor(positions: number): number {
    return Math.ceil(positions / this.pagePositions);
  }

  /** The known pages at the beginning of `ids`. */
  #find(ids: readonly number[], scope: string): PrefixNode[] {
    const found: PrefixNode[] = [];
    for (let start = 0; start + this.pagePositions <= ids.length; start += this.pagePositions) {
      const node = this.#known.get(keyOf(found.at(-1), scope, ids.slice(start, start + this.pagePositions)));
      if (!node) break;
      found.push(node);
    }
    return found;
  }

  #use(node: PrefixNode): void {
    if (node.users === 0) this.#idle.delete(node);
    node.users++;
  }

  #forget(node: PrefixNode): void {
    this.#idle.delete(node);
    this.#known.delete(node.key);
    this.#free.push(node.page);
  }
}

/** The pages of one sequence in order: position p lies in `pages[⌊p / pagePositions⌋]`. */
export class PagedSequence {
  readonly pages: number[] = [];
  readonly #pool: KvPages;
  readonly #scope: string;
  readonly #maxPages: number;
  /** The last page of known tokens; all pages before it are known too. */
  #node: PrefixNode | undefined;
  #knownPages = 0;
  #length: number;
  #closed = false;

  /** Called by KvPages.open. */
  constructor(pool: KvPages, node: PrefixNode | undefined, scope: string, maxPages: number) {
    this.#pool = pool;
    this.#node = node;
    this.#scope = scope;
    this.#maxPages = maxPages;
    for (let at = node; at !== undefined; at = at.parent) this.pages.unshift(at.page);
    this.#knownPages = this.pages.length;
    this.#length = this.pages.length * pool.pagePositions;
  }

  /** Positions held; at the beginning, those that were reused. */
  get length(): number {
    return this.#length;
  }

  /** Makes room for `count` more positions. Throws a RangeError beyond the length that it was opened for. */
  append(count: number): void {
    this.reach(this.#length + count);
    this.#length += count;
  }

  /** Takes pages for `length` positions without counting them as held. Throws as `append` does. */
  reach(length: number): void {
    const pages = Math.ceil(length / this.#pool.pagePositions);
    if (pages > this.#maxPages) {
      throw new RangeError(`KV pages: ${length} positions are more than the sequence was opened for`);
    }
    while (this.pages.length < pages) this.pages.push(this.#pool.take());
  }

  /** Drops the positions from `length` on. Throws a RangeError for positions on pages that may be shared. */
  truncate(length: number): void {
    if (length > this.#length || length < this.#knownPages * this.#pool.pagePositions) {
      throw new RangeError(`KV pages: cannot go back from ${this.#length} positions to ${length}`);
    }
    this.#length = length;
    const pages = Math.ceil(length / this.#pool.pagePositions);
    while (this.pages.length > pages) this.#pool.give(this.pages.pop()!, true);
  }

  /** Declares `ids` final: full pages become shareable. */
  commit(ids: readonly number[]): void {
    const { pagePositions } = this.#pool;
    while ((this.#knownPages + 1) * pagePositions <= Math.min(this.#length, ids.length)) {
      const start = this.#knownPages * pagePositions;
      const tokens = ids.slice(start, start + pagePositions);
      this.#node = this.#pool.learn(this.#node, this.#scope, tokens, this.pages[this.#knownPages]!);
      this.pages[this.#knownPages] = this.#node.page;
      this.#knownPages++;
    }
  }

  /** Frees its own pages; pages of known tokens stay while there is room. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pool.unreserve(this.#maxPages - this.pages.length);
    for (const page of this.pages.splice(this.#knownPages)) this.#pool.give(page, false);
    this.#pool.leave(this.#node);
  }
}

/** Stands for the parent of a first page; no page has this number. */
const NO_PAGE = 0xffff_ffff;

/**
 * Key of a page of known tokens: the number of the page before it (or the scope, for a first page) and its own tokens, each as
 * 32 bits in two UTF-16 units. The page before lives at least as long as this one.
 */
function keyOf(parent: PrefixNode | undefined, scope: string, ids: readonly number[]): string {
  const numbers = [parent?.page ?? NO_PAGE, ...ids];
  const key = String.fromCharCode(...numbers.flatMap((number) => [number & 0xffff, number >>> 16]));
  return parent ? key : key + scope;
}
