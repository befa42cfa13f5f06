import { type KvPageBudget, onePageTable } from '@shoal/model';
import { PageGroups, type TableKind } from './page-groups.ts';
import { PagedSequence, type SequencePool } from './paged-sequence.ts';
import { type BlockPages, NO_GROUP, type PrefixNode, PrefixTree } from './prefix-tree.ts';

export interface KvPagesOptions extends Pick<KvPageBudget, 'numPages' | 'pagePositions' | 'paging'> {
  /** Positions that a sequence gets between two commits at most, which bounds what its windows hold; by default no bound. */
  maxRows?: number;
}

/**
 * Allocates the pages of the KV cache. Blocks of known tokens are shared, without copying, by all sequences with the same
 * beginning (paged attention and prefix caching: Kwon et al. 2023; Zheng et al. 2024, RadixAttention). They outlive their
 * sequences until their room is needed, the least recently used first. All that a sequence may need at a time is reserved when it
 * begins, so that none runs out of room halfway.
 *
 * A block has a group of pages on the full tables, and one on the tables of layers with windows (`KvPaging`). When all windows
 * have passed a block, the latter is the first whose room is used again. Until then, or if a sequence has begun or ended
 * there, another one may begin there.
 *
 * It handles page numbers only; the values lie in the dense engine's memory.
 */
export class KvPages implements SequencePool {
  readonly pagePositions: number;
  readonly numPages: number;
  readonly sizes: Readonly<Record<TableKind, number>>;
  readonly windowBlocks: number;
  readonly mostInWindows: number;
  readonly #groups: PageGroups;
  readonly #tree = new PrefixTree();
  /** Nodes without users in order of last use; every node comes after its descendants. */
  readonly #idle = new Set<PrefixNode>();
  /** Nodes whose window pages have no users, in the order in which they lost them: those that are no ends, and those that are. */
  readonly #passed = new Set<PrefixNode>();
  readonly #ends = new Set<PrefixNode>();
  /** Pages that sequences may yet take. */
  #reserved = 0;
  /** Positions reused, and positions opened in all, since start. */
  reusedPositions = 0;
  openedPositions = 0;

  constructor({
    numPages,
    pagePositions,
    paging = onePageTable(1),
    maxRows = Number.POSITIVE_INFINITY,
  }: KvPagesOptions) {
    const { fullTables, windowTables, reach } = paging;
    this.numPages = numPages;
    this.pagePositions = pagePositions;
    this.sizes = { full: fullTables, window: windowTables };
    this.windowBlocks = Math.ceil(reach / pagePositions);
    // Those of the window, and those that are not committed: part of a block, and one pass's rows.
    this.mostInWindows = this.windowBlocks + Math.ceil((pagePositions - 1 + maxRows) / pagePositions);
    this.#groups = new PageGroups(numPages);
  }

  /** Pages that sequences hold or have reserved. */
  get usedPages(): number {
    return this.heldPages + this.#reserved;
  }

  /** Pages that sequences hold. */
  get heldPages(): number {
    return this.numPages - this.#groups.free - this.idlePages;
  }

  /** Pages without users, kept for prefix reuse. */
  get idlePages(): number {
    return this.sizes.full * this.#idle.size + this.sizes.window * (this.#passed.size + this.#ends.size);
  }

  /** The most positions of one sequence. */
  get mostPositions(): number {
    return this.mostPositionsOf(1);
  }

  /** The most positions that each of so many sequences can have at a time. */
  mostPositionsOf(sequences: number): number {
    const { full, window } = this.sizes;
    const most = this.mostInWindows;
    const pages = Math.floor(this.numPages / sequences);
    const beyond = full === 0 ? Number.POSITIVE_INFINITY : Math.floor((pages - window * most) / full);
    const within = Math.floor(pages / (full + window));
    return this.pagePositions * (within >= most ? beyond : within);
  }

  /**
   * Opens a sequence that starts with `ids` and grows to at most `maxLength` positions; undefined while there is no room. It
   * starts with the known blocks of its beginning, at most `ids.length − 1` positions, so that one is left to compute. Only
   * sequences of the same `scope` share pages.
   */
  open(ids: readonly number[], maxLength: number, scope = ''): PagedSequence | undefined {
    return this.openTogether(ids, maxLength, [scope])?.[0];
  }

  /** Opens a sequence in each scope, all of which start with the same positions; undefined while there is no room for all. */
  openTogether(ids: readonly number[], maxLength: number, scopes: readonly string[]): PagedSequence[] | undefined {
    const beginning = this.#knownToAll(ids.slice(0, -1), scopes);
    const opened: PagedSequence[] = [];
    for (const scope of scopes) {
      const sequence = this.#open(beginning, maxLength, scope);
      if (!sequence) {
        for (const each of opened) each.close();
        return undefined;
      }
      opened.push(sequence);
    }
    this.openedPositions += ids.length;
    this.reusedPositions += opened[0]!.length;
    return opened;
  }

  /** What may be known of `ids` in all scopes. Where it is known in one, the windows before its end may be gone in another. */
  #knownToAll(ids: readonly number[], scopes: readonly string[]): readonly number[] {
    if (scopes.length === 1) return ids;
    let known = ids;
    for (let before; before !== known.length;) {
      before = known.length;
      for (const scope of scopes) known = ids.slice(0, this.pagePositions * this.#find(known, scope).length);
    }
    return known;
  }

  #open(ids: readonly number[], maxLength: number, scope: string): PagedSequence | undefined {
    const known = this.#find(ids, scope);
    const maxBlocks = Math.ceil(maxLength / this.pagePositions);
    const inWindows = Math.min(maxBlocks, this.mostInWindows);
    const { full, window } = this.sizes;
    const needed = full * (maxBlocks - known.length) + window * inWindows;
    const idleAfter = this.idlePages - full * known.filter(({ users }) => users === 0).length;
    if (needed > this.#groups.free + idleAfter - this.#reserved) return undefined;
    for (const node of known) this.#use(node);
    this.#reserved += needed;
    const windowNodes = window > 0 ? known.slice(-this.windowBlocks || known.length) : [];
    for (const node of windowNodes) {
      node.isEnd = true;
      this.#joinWindow(node);
    }
    return new PagedSequence(this, { known, windowNodes, scope, maxBlocks, inWindows });
  }

  reserve({ full, window }: Readonly<Record<TableKind, number>>): boolean {
    const needed = this.sizes.full * full + this.sizes.window * window;
    if (needed > this.#groups.free + this.idlePages - this.#reserved) return false;
    this.#reserved += needed;
    return true;
  }

  take(kind: TableKind): number {
    const size = this.sizes[kind];
    this.#reserved -= size;
    while (this.#groups.free < size) this.#makeRoom();
    return this.#groups.take(size);
  }

  give(kind: TableKind, group: number, again: boolean): void {
    this.#groups.give(group, this.sizes[kind]);
    if (again) this.#reserved += this.sizes[kind];
  }

  unreserve(kind: TableKind, groups: number): void {
    this.#reserved -= groups * this.sizes[kind];
  }

  page(group: number, index: number): number {
    return this.#groups.page(group, index);
  }

  learn(parent: PrefixNode | undefined, scope: string, tokens: readonly number[], pages: BlockPages): PrefixNode {
    const { full, window } = this.sizes;
    const known = this.#tree.find(parent, scope, tokens);
    const node = known ?? this.#tree.add(parent, scope, tokens, pages);
    this.#use(node);
    if (known && full > 0) this.give('full', pages.full, false);
    if (window === 0) return node;
    if (known && node.window !== NO_GROUP) {
      this.give('window', pages.window, true);
      this.#joinWindow(node);
    } else {
      node.window = pages.window;
      node.windowUsers = 1;
    }
    return node;
  }

  /** Takes a reserved place in the window pages of a block. The reservation goes on if others are there, who may leave later. */
  #joinWindow(node: PrefixNode): void {
    if (node.windowUsers++ > 0) return;
    this.#reserved -= this.sizes.window;
    this.#passed.delete(node);
    this.#ends.delete(node);
  }

  leaveWindow(node: PrefixNode, isEnd: boolean): void {
    node.isEnd ||= isEnd;
    if (--node.windowUsers > 0) return;
    this.#reserved += this.sizes.window;
    (node.isEnd ? this.#ends : this.#passed).add(node);
  }

  leave(node: PrefixNode | undefined): void {
    for (let at = node; at !== undefined; at = at.parent) {
      at.users--;
      if (at.users === 0) this.#idle.add(at);
    }
    // Without full tables a node may have no pages, so that nothing else bounds their number.
    while (this.sizes.full === 0 && this.#tree.size > this.numPages && this.#idle.size > 0) this.#forgetOldest();
  }

  /** The known blocks at the beginning of `ids`, as far as the windows before their end are there. */
  #find(ids: readonly number[], scope: string): PrefixNode[] {
    const found: PrefixNode[] = [];
    let usable = 0;
    let inWindows = 0;
    for (let start = 0; start + this.pagePositions <= ids.length; start += this.pagePositions) {
      const node = this.#tree.find(found.at(-1), scope, ids.slice(start, start + this.pagePositions));
      if (!node) break;
      found.push(node);
      inWindows = node.window === NO_GROUP ? 0 : inWindows + 1;
      if (this.sizes.window === 0 || inWindows >= Math.min(found.length, this.windowBlocks)) usable = found.length;
    }
    return found.slice(0, usable);
  }

  #use(node: PrefixNode): void {
    if (node.users++ === 0) this.#idle.delete(node);
  }

  /** Frees the pages that are least likely to be needed again: passed windows, idle blocks, then windows before ends. */
  #makeRoom(): void {
    const [passed] = this.#passed;
    if (passed) return this.#dropWindow(passed);
    if (this.#idle.size > 0) return this.#forgetOldest();
    const [end] = this.#ends;
    if (!end) throw new Error('KV pages: more were taken than set aside');
    this.#dropWindow(end);
  }

  #dropWindow(node: PrefixNode): void {
    this.#passed.delete(node);
    this.#ends.delete(node);
    this.#groups.give(node.window, this.sizes.window);
    node.window = NO_GROUP;
  }

  #forgetOldest(): void {
    const [node] = this.#idle;
    this.#idle.delete(node!);
    this.#tree.delete(node!);
    if (node!.window !== NO_GROUP) this.#dropWindow(node!);
    if (node!.full !== NO_GROUP) this.#groups.give(node!.full, this.sizes.full);
  }
}
