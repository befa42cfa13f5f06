/** The keys and values that attention keeps of one sequence. Belongs to the engine that made it. */
export interface SequenceCache {
  /** Positions held; the next one to be written. */
  readonly length: number;
  readonly allocatedBytes: number;
  /** Forgets all positions from `length` on. */
  truncate(length: number): void;
  /**
   * Keeps the first `length` positions and then those in `slots` (ascending), which become the next ones; forgets the rest. So
   * of a tree of rows one path is kept.
   */
  keep(length: number, slots: readonly number[]): void;
  /** Frees all memory. Not to be used afterwards. */
  free(): void;
}

/** One page table of a sequence: the pages of its positions in order, but for those that its windows have passed. */
export interface PageTable {
  /** Index of the first page that is held: position p lies in `pages[⌊p / pagePositions⌋ − first]`. */
  readonly first: number;
  readonly pages: readonly number[];
}

/** The pages of a sequence, by number, as its lender gives them out. */
export interface SequencePages {
  /** As `KvPaging` numbers them. */
  readonly tables: readonly PageTable[];
  /** Positions held. */
  readonly length: number;
  append(count: number): void;
  /** Takes pages of the full tables for `length` positions, without counting those as held. */
  reach(length: number): void;
  truncate(length: number): void;
  close(): void;
}
