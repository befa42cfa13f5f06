import {
  type HeadRow,
  type ModelConfig,
  queryTemperature,
  ropeAngles,
  type RowSlots,
  type SequenceCache,
} from '@shoal/model';
import type { BankAdapter } from './adapter-space.ts';
import type { Bank } from './bank.ts';
import type { DenseMemory, KvKind } from './dense-memory.ts';
import { LentCache, PagedCache, type PagePool } from './kv-pages.ts';
import { headChunks, listWordsOf } from './token-queries.ts';
import {
  groupSize,
  ROW_ENTRY_BYTES,
  TILE_QUERIES,
  TILE_ROWS,
  type Workspace,
  type WorkspaceRoom,
} from './workspace.ts';

export type PassCache = PagedCache | LentCache;

export interface PassRow {
  position: number;
  cache: PassCache;
  slots?: RowSlots;
  adapter?: BankAdapter | undefined;
  /** Of a mixture's row. */
  scalings?: Float32Array | undefined;
  /** As in `RowPlace`. */
  last?: number | undefined;
  /** Of an answer's row: the positions of its source, which are the first of its sequence. */
  source?: number | undefined;
}

/** Consecutive rows of one sequence. */
interface Run {
  cache: PassCache;
  firstRow: number;
  numRows: number;
}

/** The tables about a pass's rows that all its layers read, written once into every bank. */
export interface PassTables {
  numRows: number;
  attentionTasks: number;
  workspace: Workspace;
  /** Addresses of the tables of the rows, by page table. */
  rowTables: readonly number[];
  /** Present where the rows have sources. */
  sources?: SourceTables | undefined;
  /** Those of the rows, each once. */
  adapters: readonly BankAdapter[];
}

/** Addresses of what attention reads of rows that have sources. */
export interface SourceTables {
  /** A table of the rows, each at its source's last position. */
  rowTable: number;
  /** The first position of each row's answer. */
  firsts: number;
}

function runsOf(rows: readonly PassRow[]): Run[] {
  const runs: Run[] = [];
  for (const [r, { cache }] of rows.entries()) {
    const last = runs.at(-1);
    if (last?.cache === cache) last.numRows++;
    else runs.push({ cache, firstRow: r, numRows: 1 });
  }
  return runs;
}

/** Words of the page tables of these rows' sequences, and of the rows' slots and scalings. */
export function tableWordsOf(rows: readonly PassRow[]): number {
  let words = rows.reduce((sum, { slots = [], scalings = [] }) => sum + slots.length + scalings.length, 0);
  for (const { tables } of new Set(rows.map((row) => row.cache))) for (const { pages } of tables) words += pages.length;
  return words;
}

/** Writes the pass's tables into its workspace of a bank: each row's position, angles and pages, and the tasks of attention. */
export function writeTables(
  memory: DenseMemory,
  bank: number,
  workspace: Workspace,
  rows: readonly PassRow[],
  { kv, config, threads }: { kv: KvKind; config: ModelConfig; threads: number },
): PassTables {
  const runs = runsOf(rows);
  const { i32 } = memory.banks[bank]!.views;
  const placed = new Map<PassCache, number[]>();
  let at = workspace.pageTables;
  for (const { cache } of runs) {
    if (placed.has(cache)) continue;
    const starts: number[] = [];
    for (const { first, pages } of cache.tables) {
      // Where the table would begin if it had the pages that its windows have passed, which no row reads.
      starts.push(at - first * 4);
      for (const [i, page] of pages.entries()) i32[at / 4 + i] = memory.pageAddress(bank, page, kv);
      at += pages.length * 4;
    }
    placed.set(cache, starts);
  }
  const slotsAt = rows.map(({ slots = [] }) => {
    const from = at;
    i32.set(slots, from / 4);
    at += slots.length * 4;
    return from;
  });
  const { views } = memory.banks[bank]!;
  const scalingsAt = rows.map(({ scalings }) => {
    if (!scalings) return 0;
    const from = at;
    views.f32.set(scalings, from / 4);
    at += scalings.byteLength;
    return from;
  });
  const anglesAt = writeAngles(views, config, workspace, rows);
  writeTemperatures(views, config, workspace, rows);
  const angleBytes = (config.rope.dim / 2) * 4;
  const numTables = rows[0]?.cache.tables.length ?? 0;
  const rowTables = Array.from({ length: numTables }, (_, t) => workspace.rowTable + t * rows.length * ROW_ENTRY_BYTES);
  for (const [t, rowTable] of rowTables.entries()) {
    for (const [r, { position, cache, slots = [], last = position, adapter }] of rows.entries()) {
      const table = placed.get(cache)![t]!;
      const [cos, sin] = [anglesAt.cos + r * angleBytes, anglesAt.sin + r * angleBytes];
      const inPlace = last + 1 - slots.length;
      const entry = [last, table, cos, sin, slots.at(-1) ?? position, inPlace, slotsAt[r]!];
      entry.push(adapter?.directoryIn(bank) ?? 0, scalingsAt[r]!);
      i32.set(entry, (rowTable + r * ROW_ENTRY_BYTES) / 4);
    }
  }
  const sources = writeSources(views, workspace, rows, (cache) => placed.get(cache)![0]!);
  const tasks = attentionTasks(config, runs, threads);
  for (const [i, task] of tasks.entries()) i32.set(task, workspace.tasks / 4 + i * 4);
  const adapters = [...new Set(rows.flatMap(({ adapter }) => adapter ?? []))];
  return { numRows: rows.length, attentionTasks: tasks.length, workspace, rowTables, sources, adapters };
}

function writeSources(
  { i32 }: Bank['views'],
  workspace: Workspace,
  rows: readonly PassRow[],
  tableOf: (cache: PassCache) => number,
): SourceTables | undefined {
  if (rows[0]?.source === undefined) return undefined;
  const { sourceTable: rowTable, firsts } = workspace;
  for (const [r, { cache, source = 0 }] of rows.entries()) {
    const entry = [source - 1, tableOf(cache), 0, 0, source - 1, source, 0, 0];
    i32.set(entry, (rowTable + r * ROW_ENTRY_BYTES) / 4);
    i32[firsts / 4 + r] = source;
  }
  return { rowTable, firsts };
}

function writeAngles(
  { f32 }: Bank['views'],
  { rope }: ModelConfig,
  workspace: Workspace,
  rows: readonly PassRow[],
): { cos: number; sin: number } {
  const positions = rows.map(({ position }) => position);
  const { cos, sin } = ropeAngles(positions, rope);
  f32.set(cos, workspace.angles / 4);
  f32.set(sin, workspace.angles / 4 + cos.length);
  return { cos: workspace.angles, sin: workspace.angles + cos.length * 4 };
}

function writeTemperatures(
  { f32 }: Bank['views'],
  { attention }: ModelConfig,
  workspace: Workspace,
  rows: readonly PassRow[],
): void {
  if (attention.kind === 'mla' || !attention.temperature) return;
  const { temperature } = attention;
  const factors = rows.map(({ position }) => queryTemperature(temperature, position));
  f32.set(factors, workspace.temperatures / 4);
}

type Task = [firstRow: number, numRows: number, firstHead: number, numHeads: number];

/**
 * Cuts attention into tasks: some rows of one sequence and some heads, which share each decoded block of the cache. The cut
 * affects no result, only which thread computes it and how much is shared.
 */
function attentionTasks(config: ModelConfig, runs: readonly Run[], threads: number): Task[] {
  const { attention } = config;
  const heads = attention.numAttentionHeads;
  const group = groupSize(config);
  const tileRows = attention.kind === 'mla' ? TILE_ROWS : Math.max(1, Math.floor(TILE_QUERIES / group));
  const tiles = runs.flatMap(({ firstRow, numRows }) =>
    Array.from({ length: Math.ceil(numRows / tileRows) }, (_, i) => {
      return { first: firstRow + i * tileRows, count: Math.min(tileRows, numRows - i * tileRows) };
    }),
  );
  return tiles.flatMap(({ first, count }) => {
    const shared = Math.min(Math.floor(TILE_QUERIES / count), Math.ceil((heads * tiles.length) / threads));
    const headsPerTask = attention.kind === 'mla' ? Math.max(1, shared) : group;
    return Array.from({ length: Math.ceil(heads / headsPerTask) }, (_, i): Task => {
      const firstHead = i * headsPerTask;
      return [first, count, firstHead, Math.min(headsPerTask, heads - firstHead)];
    });
  });
}

/** What a pass needs room for. */
export function roomOf(rows: readonly PassRow[], wanted: readonly HeadRow[]): WorkspaceRoom {
  const listWords = Math.max(0, ...headChunks(wanted).map((chunk) => listWordsOf(chunk.map((r) => wanted[r]!))));
  const ranks = Math.max(0, ...rows.map(({ adapter }) => adapter?.maxRank ?? 0));
  return { rows: rows.length, tableWords: tableWordsOf(rows), listWords, ranks };
}

/** Throws a TypeError for a sequence of another engine. */
export function ownCache(cache: SequenceCache, pool: PagePool): PassCache {
  if ((cache instanceof PagedCache || cache instanceof LentCache) && cache.pool === pool) return cache;
  throw new TypeError("a sequence of another engine: use this engine's newSequence()");
}
