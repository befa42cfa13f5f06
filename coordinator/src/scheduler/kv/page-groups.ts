/** Kinds of page tables: of layers that attend to all positions, and of layers with windows. */
export type TableKind = 'full' | 'window';

/**
 * Free pages, handed out in groups: one for each page table that a block of positions is entered in. A group is named by its
 * first page, from which the others are found.
 */
export class PageGroups {
  readonly #free: number[];
  /** Page → the next of its group. */
  readonly #next: Uint32Array;

  constructor(numPages: number) {
    this.#free = Array.from({ length: numPages }, (_, i) => numPages - 1 - i);
    this.#next = new Uint32Array(numPages);
  }

  get free(): number {
    return this.#free.length;
  }

  /** Takes a group of `size` pages, at least one. The caller has seen that they are free. */
  take(size: number): number {
    const first = this.#free.pop()!;
    let last = first;
    for (let i = 1; i < size; i++) last = this.#next[last] = this.#free.pop()!;
    return first;
  }

  give(first: number, size: number): void {
    let page = first;
    for (let i = 0; i < size; i++) {
      this.#free.push(page);
      page = this.#next[page]!;
    }
  }

  /** The `index`-th page of a group. */
  page(first: number, index: number): number {
    let page = first;
    for (let i = 0; i < index; i++) page = this.#next[page]!;
    return page;
  }
}
