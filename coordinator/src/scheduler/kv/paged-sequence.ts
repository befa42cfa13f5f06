import type { PageTable, SequencePages } from '@shoal/model';
import type { TableKind } from './page-groups.ts';
import { type BlockPages, NO_GROUP, type PrefixNode } from './prefix-tree.ts';

/** What a sequence asks of KvPages. */
export interface SequencePool {
  readonly pagePositions: number;
  /** Pages of a group, by kind. */
  readonly sizes: Readonly<Record<TableKind, number>>;
  /** Blocks before its own that a row may attend to in layers with windows. */
  readonly windowBlocks: number;
  /** The most blocks of a sequence that are on the tables of windows at a time. */
  readonly mostInWindows: number;
  /** Reserves groups, by kind; false where there is no room for all. */
  reserve(groups: Readonly<Record<TableKind, number>>): boolean;
  /** Takes a reserved group. */
  take(kind: TableKind): number;
  /** Returns a group that is not shared; `again` keeps it reserved for the sequence. */
  give(kind: TableKind, group: number, again: boolean): void;
  /** Cancels the reservation of groups that were not taken. */
  unreserve(kind: TableKind, groups: number): void;
  /** The page of a group in the table `index` of its kind. */
  page(group: number, index: number): number;
  /**
   * Makes known that these pages hold `tokens` after the block `parent`, in whose windows the caller is. If another sequence has
   * computed the same, its pages are used and these become free.
   */
  learn(parent: PrefixNode | undefined, scope: string, tokens: readonly number[], pages: BlockPages): PrefixNode;
  /** Gives back a place in the window pages of a block, and keeps it reserved. `isEnd`: the sequence has ended there. */
  leaveWindow(node: PrefixNode, isEnd: boolean): void;
  /** Removes one user from the node and all nodes before it. */
  leave(node: PrefixNode | undefined): void;
}

export interface OpenedSequence {
  /** The blocks that it begins with. */
  known: readonly PrefixNode[];
  /** Those at the end of them that its windows reach; it has a place in each. */
  windowNodes: readonly PrefixNode[];
  scope: string;
  maxBlocks: number;
  /** The most blocks that its windows hold at a time. */
  inWindows: number;
}

/** One kind of a sequence's page tables: the groups of its blocks from `first` on. */
interface Tables {
  kind: TableKind;
  first: number;
  groups: number[];
  tables: { first: number; pages: number[] }[];
}

/** The pages of one sequence. Its blocks of known tokens may be shared; windows give theirs back as they pass. */
export class PagedSequence implements SequencePages {
  readonly tables: readonly PageTable[];
  readonly #pool: SequencePool;
  readonly #scope: string;
  #maxBlocks: number;
  #inWindows: number;
  readonly #full: Tables;
  readonly #window: Tables;
  /** The last block of known tokens; all blocks before it are known too. */
  #node: PrefixNode | undefined;
  #knownBlocks: number;
  /** The known blocks on the tables of windows. */
  readonly #windowNodes: PrefixNode[];
  #length: number;
  #closed = false;

  /** Called by KvPages.open. */
  constructor(pool: SequencePool, { known, windowNodes, scope, maxBlocks, inWindows }: OpenedSequence) {
    this.#pool = pool;
    this.#node = known.at(-1);
    this.#scope = scope;
    this.#maxBlocks = maxBlocks;
    this.#inWindows = inWindows;
    this.#knownBlocks = known.length;
    this.#windowNodes = [...windowNodes];
    this.#length = known.length * pool.pagePositions;
    this.#full = openTables(pool, 'full', 0);
    this.#window = openTables(pool, 'window', known.length - windowNodes.length);
    this.tables = [...this.#full.tables, ...this.#window.tables];
    if (pool.sizes.full > 0) for (const { full } of known) this.#push(this.#full, full);
    for (const { window } of windowNodes) this.#push(this.#window, window);
  }

  /** Positions held; at the beginning, those that were reused. */
  get length(): number {
    return this.#length;
  }

  /**
   * Makes room for `count` more positions. Throws a RangeError beyond the length that it was opened for, or for more positions
   * than its windows have room for before the next commit.
   */
  append(count: number): void {
    const blocks = this.#blocksFor(this.#length + count);
    if (this.#pool.sizes.window > 0 && blocks - this.#window.first > this.#inWindows) {
      throw new RangeError(`KV pages: ${count} positions are more than the windows have room for before a commit`);
    }
    this.#grow(this.#full, blocks);
    this.#grow(this.#window, blocks);
    this.#length += count;
  }

  /** Makes it one that grows to `maxLength` positions; returns false where there is no room to reserve for that. */
  extend(maxLength: number): boolean {
    const maxBlocks = Math.max(this.#maxBlocks, Math.ceil(maxLength / this.#pool.pagePositions));
    const inWindows = Math.min(maxBlocks, this.#pool.mostInWindows);
    const more = { full: maxBlocks - this.#maxBlocks, window: inWindows - this.#inWindows };
    if (!this.#pool.reserve(more)) return false;
    this.#maxBlocks = maxBlocks;
    this.#inWindows = inWindows;
    return true;
  }

  /** Takes pages of the full tables for `length` positions without counting them as held. Throws as `append` does. */
  reach(length: number): void {
    this.#grow(this.#full, this.#blocksFor(length));
  }

  /** Drops the positions from `length` on. Throws a RangeError for positions in blocks that may be shared. */
  truncate(length: number): void {
    if (length > this.#length || length < this.#knownBlocks * this.#pool.pagePositions) {
      throw new RangeError(`KV pages: cannot go back from ${this.#length} positions to ${length}`);
    }
    this.#length = length;
    const blocks = Math.ceil(length / this.#pool.pagePositions);
    this.#shrink(this.#full, blocks, true);
    this.#shrink(this.#window, blocks, true);
  }

  /** Declares `ids` final: full blocks become shareable, and windows pass the blocks that no later position attends to. */
  commit(ids: readonly number[]): void {
    const { pagePositions } = this.#pool;
    while ((this.#knownBlocks + 1) * pagePositions <= Math.min(this.#length, ids.length)) {
      const start = this.#knownBlocks * pagePositions;
      const own = { full: this.#group(this.#full), window: this.#group(this.#window) };
      const tokens = ids.slice(start, start + pagePositions);
      const node = (this.#node = this.#pool.learn(this.#node, this.#scope, tokens, own));
      if (own.full !== node.full) this.#replace(this.#full, node.full);
      if (own.window !== NO_GROUP) {
        if (own.window !== node.window) this.#replace(this.#window, node.window);
        this.#windowNodes.push(node);
      }
      this.#knownBlocks++;
    }
    this.#passWindows();
  }

  /** Frees its own pages; those of known tokens stay while there is room. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { sizes } = this.#pool;
    if (sizes.full > 0) this.#pool.unreserve('full', this.#maxBlocks - this.#full.groups.length);
    this.#shrink(this.#full, this.#knownBlocks, false);
    if (sizes.window > 0) {
      this.#shrink(this.#window, this.#knownBlocks, true);
      for (const node of this.#windowNodes) this.#pool.leaveWindow(node, true);
      this.#pool.unreserve('window', this.#inWindows);
    }
    this.#pool.leave(this.#node);
  }

  #blocksFor(positions: number): number {
    const blocks = Math.ceil(positions / this.#pool.pagePositions);
    if (blocks <= this.#maxBlocks) return blocks;
    throw new RangeError(`KV pages: ${positions} positions are more than the sequence was opened for`);
  }

  #passWindows(): void {
    const first = this.#knownBlocks - this.#pool.windowBlocks;
    const window = this.#window;
    while (window.tables.length > 0 && window.first < first) {
      window.first++;
      window.groups.shift();
      for (const table of window.tables) {
        table.first++;
        table.pages.shift();
      }
      this.#pool.leaveWindow(this.#windowNodes.shift()!, false);
    }
  }

  /** The group of the first block that is not known yet. */
  #group({ first, groups }: Tables): number {
    return groups[this.#knownBlocks - first] ?? NO_GROUP;
  }

  #replace({ first, groups, tables }: Tables, group: number): void {
    const at = this.#knownBlocks - first;
    groups[at] = group;
    for (const [i, { pages }] of tables.entries()) pages[at] = this.#pool.page(group, i);
  }

  #push({ groups, tables }: Tables, group: number): void {
    groups.push(group);
    for (const [i, { pages }] of tables.entries()) pages.push(this.#pool.page(group, i));
  }

  #grow(tables: Tables, blocks: number): void {
    if (tables.tables.length === 0) return;
    while (tables.first + tables.groups.length < blocks) this.#push(tables, this.#pool.take(tables.kind));
  }

  /** Gives back the groups from block `blocks` on; `again` keeps them reserved. */
  #shrink({ kind, first, groups, tables }: Tables, blocks: number, again: boolean): void {
    while (groups.length > 0 && first + groups.length > blocks) {
      this.#pool.give(kind, groups.pop()!, again);
      for (const { pages } of tables) pages.pop();
    }
  }
}

function openTables({ sizes }: SequencePool, kind: TableKind, first: number): Tables {
  const tables = Array.from({ length: sizes[kind] }, () => ({ first, pages: [] }));
  return { kind, first, groups: [], tables };
}
