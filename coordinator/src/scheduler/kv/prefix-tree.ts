import type { TableKind } from './page-groups.ts';

/** Stands for a group that is not there. */
export const NO_GROUP = -1;

/** The groups of a block's pages, by the kind of their tables. */
export type BlockPages = Record<TableKind, number>;

/** A block of known tokens, as long as a page. There may be one for each page of the budget, so it is kept small. */
export interface PrefixNode {
  parent: PrefixNode | undefined;
  /** As `keyOf` makes it. */
  key: string;
  /** Names the node in its children's keys; free again when it is forgotten, after its children. */
  id: number;
  /** Its pages on the full tables; NO_GROUP in a model without those. */
  full: number;
  /** Sequences that use it, directly or through a later one. */
  users: number;
  /** Its pages on the tables of windows; NO_GROUP once their room was needed. */
  window: number;
  /** Sequences whose windows it is in. */
  windowUsers: number;
  /** Whether a sequence has ended here, or begun from here: then others may again. */
  isEnd: boolean;
}

/** The known blocks: a tree without lists of children. */
export class PrefixTree {
  readonly #known = new Map<string, PrefixNode>();
  readonly #ids: number[] = [];

  get size(): number {
    return this.#known.size;
  }

  find(parent: PrefixNode | undefined, scope: string, tokens: readonly number[]): PrefixNode | undefined {
    return this.#known.get(keyOf(parent, scope, tokens));
  }

  add(
    parent: PrefixNode | undefined,
    scope: string,
    tokens: readonly number[],
    { full, window }: BlockPages,
  ): PrefixNode {
    const key = keyOf(parent, scope, tokens);
    const id = this.#ids.pop() ?? this.#known.size;
    const node = { parent, key, id, full, users: 0, window, windowUsers: 0, isEnd: false };
    this.#known.set(key, node);
    return node;
  }

  delete(node: PrefixNode): void {
    this.#known.delete(node.key);
    this.#ids.push(node.id);
  }
}

/** Stands for the parent of a first block; no node has this number. */
const NO_NODE = 0xffff_ffff;

/**
 * Key of a block of known tokens: the number of the one before it (or the scope, for a first one) and its own tokens, each as
 * 32 bits in two UTF-16 units.
 */
function keyOf(parent: PrefixNode | undefined, scope: string, tokens: readonly number[]): string {
  const numbers = [parent?.id ?? NO_NODE, ...tokens];
  const key = String.fromCharCode(...numbers.flatMap((number) => [number & 0xffff, number >>> 16]));
  return parent ? key : key + scope;
}
