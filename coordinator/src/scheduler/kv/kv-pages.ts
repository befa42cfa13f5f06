export interface KvPagesOptions {
  /** Pages that there are: the budget ÷ the bytes of a page, which the storage knows. */
  numPages: number;
  /** Positions of a page. */
  pagePositions: number;
}

/** A full page of known tokens, after the pages of those before them. One for each page of the budget: kept small. */
interface PrefixNode {
  parent: PrefixNode | undefined;
  /** As `keyOf` makes it. */
  key: string;
  page: number;
  /** Sequences that have it, directly or by a page after it. */
  users: number;
}

/**
 * Who has which page of the KV cache. A page holds `pagePositions` positions of all layers. Pages that are full of known
 * tokens are shared by all sequences that begin alike, without copying (paged attention and prefix caching: Kwon et al.
 * 2023; Zheng et al. 2024, RadixAttention); they outlive their sequences until their room is needed, the least recently used
 * first. What a sequence may grow to is set aside when it begins, so that none runs out of room halfway.
 *
 * It keeps numbers only: the values lie wherever the engine has its memory.
 */
export class KvPages {
  readonly pagePositions: number;
  readonly numPages: number;
  readonly #free: number[];
  /** By key: a tree without lists of children. */
  readonly #known = new Map<string, PrefixNode>();
  /** Nodes that no sequence has, in order of last use; every node comes after its descendants. */
  readonly #idle = new Set<PrefixNode>();
  /** Pages set aside for sequences that have not taken them yet. */
  #reserved = 0;
  /** Positions that sequences found computed already, and those that they asked for, since start. */
  reusedPositions = 0;
  openedPositions = 0;

  constructor({ numPages, pagePositions }: KvPagesOptions) {
    this.numPages = numPages;
    this.pagePositions = pagePositions;
    this.#free = Array.from({ length: numPages }, (_, i) => numPages - 1 - i);
  }

  /** Pages that sequences have or that are set aside for them. */
  get usedPages(): number {
    return this.heldPages + this.#reserved;
  }

  /** Pages with values that a sequence needs now. */
  get heldPages(): number {
    return this.numPages - this.#free.length - this.#idle.size;
  }

  /** Pages that are kept in case that another request begins alike. */
  get idlePages(): number {
    return this.#idle.size;
  }

  /** Whether a sequence of so many positions can ever be held. */
  fits(positions: number): boolean {
    return this.#pagesFor(positions) <= this.numPages;
  }

  /**
   * Begin a sequence that starts with `ids` and grows to at most `maxLength` positions; undefined while there is no room for
   * that. It starts with what is known of its beginning, `ids.length − 1` positions at most, so that there is a last one to
   * compute. Only sequences of the same `scope` share pages.
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

  /** Take a page that was set aside. For PagedSequence. */
  take(): number {
    this.#reserved--;
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const oldest = this.#idle.values().next();
    if (oldest.done) throw new Error('KV pages: more were taken than set aside');
    this.#forget(oldest.value);
    return this.#free.pop()!;
  }

  /** Give a page back that nobody else knows of. For PagedSequence; `again`: it stays set aside for its sequence. */
  give(page: number, again: boolean): void {
    this.#free.push(page);
    if (again) this.#reserved++;
  }

  /** Let go of what was set aside and not taken. For PagedSequence. */
  unreserve(pages: number): void {
    this.#reserved -= pages;
  }

  /**
   * `page` holds `ids` after `parent`'s: known from now on. Where somebody else has computed the same, theirs is taken and
   * `page` is free again. For PagedSequence.
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

  /** A sequence ends: the node and those before it have one user less. For PagedSequence. */
  leave(node: PrefixNode | undefined): void {
    for (let at = node; at !== undefined; at = at.parent) {
      at.users--;
      if (at.users === 0) this.#idle.add(at);
    }
  }

  #pagesFor(positions: number): number {
    return Math.ceil(positions / this.pagePositions);
  }

  /** The known pages that these ids begin with. */
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

/** The pages of one sequence, in order: position p lies in `pages[p / pagePositions]`. */
export class PagedSequence {
  readonly pages: number[] = [];
  readonly #pool: KvPages;
  readonly #scope: string;
  readonly #maxPages: number;
  /** The last page whose tokens are known; those before it are known too. */
  #node: PrefixNode | undefined;
  #knownPages = 0;
  #length: number;
  #closed = false;

  /** By KvPages.open. */
  constructor(pool: KvPages, node: PrefixNode | undefined, scope: string, maxPages: number) {
    this.#pool = pool;
    this.#node = node;
    this.#scope = scope;
    this.#maxPages = maxPages;
    for (let at = node; at !== undefined; at = at.parent) this.pages.unshift(at.page);
    this.#knownPages = this.pages.length;
    this.#length = this.pages.length * pool.pagePositions;
  }

  /** Positions held; when it begins, those that were computed before. */
  get length(): number {
    return this.#length;
  }

  /** Make room for `count` more positions. Throws a RangeError beyond what it was opened for. */
  append(count: number): void {
    this.reach(this.#length + count);
    this.#length += count;
  }

  /** Have pages for `length` positions, of which none counts as held yet. Throws as `append` does. */
  reach(length: number): void {
    const pages = Math.ceil(length / this.#pool.pagePositions);
    if (pages > this.#maxPages) {
      throw new RangeError(`KV pages: ${length} positions are more than the sequence was opened for`);
    }
    while (this.pages.length < pages) this.pages.push(this.#pool.take());
  }

  /** Forget the positions from `length` on. Throws a RangeError for positions whose tokens others may share. */
  truncate(length: number): void {
    if (length > this.#length || length < this.#knownPages * this.#pool.pagePositions) {
      throw new RangeError(`KV pages: cannot go back from ${this.#length} positions to ${length}`);
    }
    this.#length = length;
    const pages = Math.ceil(length / this.#pool.pagePositions);
    while (this.pages.length > pages) this.#pool.give(this.pages.pop()!, true);
  }

  /** Its positions hold these ids for good: full pages are shared with whoever begins alike. */
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

  /** Its own pages are free again; those of known tokens stay as long as there is room. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pool.unreserve(this.#maxPages - this.pages.length);
    for (const page of this.pages.splice(this.#knownPages)) this.#pool.give(page, false);
    this.#pool.leave(this.#node);
  }
}

/** In the place of a first page's parent; no page has this number. */
const NO_PAGE = 0xffff_ffff;

/**
 * A page of known tokens: the page before it, which lives as long as it does, or the scope where there is none, and its own
 * tokens. Numbers are of 32 bits at most; two UTF-16 units each.
 */
function keyOf(parent: PrefixNode | undefined, scope: string, ids: readonly number[]): string {
  const numbers = [parent?.page ?? NO_PAGE, ...ids];
  const key = String.fromCharCode(...numbers.flatMap((number) => [number & 0xffff, number >>> 16]));
  return parent ? key : key + scope;
}
