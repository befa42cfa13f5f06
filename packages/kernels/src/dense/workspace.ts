import { gateWidth, type HeadConfig, kvWidth, type ModelConfig } from '@shoal/model';
import { alignUp, PANEL_COLS, type DenseFormat } from '@shoal/weights';
import type { Bank } from './bank.ts';
import { PROGRAM_BYTES, type PreparedRows, type Rows } from './program.ts';
import { HEAD_ROWS, maskBytes, QUERY_BYTES, queryScratchBytes } from './token-queries.ts';

/** Attention queries of one task, which share each block of the cache that is decoded. */
export const TILE_QUERIES = 16;
/** Rows of one sequence in a task. */
export const TILE_ROWS = 8;
/** Products of the same rows that adapters add to at a time: attention's queries, keys and values. */
export const ADAPTER_PRODUCTS = 3;
/** A row's position, page table, cosines, sines, slot, positions in place, slots of the others, its adapter and its scalings. */
export const ROW_ENTRY_BYTES = 36;
/** Arrivals and generation, in a cache line of their own. */
const CONTROL_BYTES = 64;

const padded = (dim: number): number => alignUp(dim, PANEL_COLS);
const pad4 = (dim: number): number => alignUp(dim, 4);

/** Bytes of a row prepared for weights of a format: packages/kernels/wasm/assembly/dense/prepare.ts. */
export function preparedBytes(dim: number, format: DenseFormat): number {
  const blocks = Math.ceil(dim / PANEL_COLS);
  return format === 'q8' || format === 'q4' ? blocks * 64 + pad4(blocks) * 4 : blocks * 128;
}

/** Dimensions of a model's intermediate results. */
function workDims(config: ModelConfig) {
  const { attention } = config;
  const heads = attention.numAttentionHeads;
  const isMla = attention.kind === 'mla';
  const hidden = config.hiddenSize;
  const mixed = heads * (isMla ? attention.vHeadDim : attention.headDim);
  const ffn = Math.max(
    config.sharedIntermediateSize,
    config.layerKinds.includes('dense') ? config.intermediateSize : 0,
  );
  return {
    hidden,
    /** Queries of all heads. */
    query: heads * (isMla ? attention.qkNopeHeadDim + attention.qkRopeHeadDim : attention.headDim),
    /** Width of MLA's query latent; 0 without one. */
    queryLatent: isMla ? (attention.qLoraRank ?? 0) : 0,
    /** MLA: [c | k_pe]. GQA: keys; values follow in a buffer of the same size. */
    key: isMla ? kvWidth(attention) : attention.numKeyValueHeads * attention.headDim,
    /** Attention's result before its last projection. */
    mixed,
    /** The widest FFN. */
    ffn,
    /** The widest row that is prepared for a product. The MTP module's joins an embedding and a hidden state. */
    widest: Math.max(hidden * (config.numNextnPredictLayers ? 2 : 1), mixed, ffn),
    /** Two rows of hidden states side by side, and the padding of the first. */
    joined: 2 * hidden + PANEL_COLS,
    /** Of all query heads. */
    tasksPerRow: heads,
    angles: config.rope.dim,
  };
}

/** The same, with room for a head's: it joins several hidden states, and a hidden state with an embedding. */
function allDims(config: ModelConfig, head: HeadConfig | undefined) {
  const dims = workDims(config);
  if (!head) return dims;
  const own = workDims(head.transformer);
  const states = head.auxiliaryLayers.length * head.targetHiddenSize;
  const both = Object.entries(dims).map(([key, size]) => [key, Math.max(size, own[key as keyof typeof own])]);
  const most = Object.fromEntries(both) as typeof dims;
  const widest = Math.max(most.widest, states, 2 * own.hidden);
  return { ...most, widest, joined: Math.max(most.joined, states + PANEL_COLS) };
}

/** Scratch bytes of a product of rows of `cols` columns, as gemm.ts uses them: two expanded panels and the sums of a tile. */
export function gemmScratchBytes(cols: number): number {
  return Math.ceil(cols / PANEL_COLS) * 2 * 272 + 128;
}

/** Scratch bytes of one thread; operations.ts says what they are for. */
function threadScratchBytes(config: ModelConfig, { widest, queryLatent }: ReturnType<typeof workDims>): number {
  const product = gemmScratchBytes(Math.max(widest, queryLatent));
  const { attention } = config;
  const [key, value] =
    attention.kind === 'mla'
      ? [pad4(attention.kvLoraRank) + pad4(attention.qkRopeHeadDim), pad4(attention.kvLoraRank)]
      : [2 * pad4(attention.headDim), pad4(attention.headDim)];
  const queries = attention.kind === 'mla' ? TILE_QUERIES : Math.max(TILE_QUERIES, groupSize(config));
  const inner = attention.kind === 'mla' ? padded(Math.max(attention.qkNopeHeadDim, attention.kvLoraRank)) : 0;
  // Two blocks. Grouped-query attention may read three positions behind them.
  const positions = attention.kind === 'mla' ? 32 : 35;
  // Scores and biases of a block.
  const attend =
    128 + queries * (key + value + 4) * 4 + positions * key * 4 + TILE_ROWS * inner * 4 + gemmScratchBytes(inner);
  return alignUp(Math.max(product, attend, padded(widest) * 4, queryScratchBytes(config.vocabSize))) + 64;
}

/** Query heads that share a key head. */
export function groupSize({ attention }: ModelConfig): number {
  return attention.kind === 'mla' ? 1 : attention.numAttentionHeads / attention.numKeyValueHeads;
}

export function hasTemperature({ attention }: ModelConfig): boolean {
  return attention.kind === 'gqa' && attention.temperature !== null;
}

/** The addresses of a pass's intermediate results in a bank. */
export type Workspace = ReturnType<typeof layOutWorkspace>;

/** What a pass needs room for. */
export interface WorkspaceRoom {
  rows: number;
  /** Words of page tables, of rows' slots and of their scalings. */
  tableWords: number;
  /** Words of the token queries' lists, for the rows whose logits are computed at a time. */
  listWords: number;
  /** The largest rank of a row's adapter; 0 without adapters. */
  ranks: number;
}

/** What all workspaces of an engine have in common. */
export interface WorkspaceKind {
  /** Page tables of a sequence. */
  numTables: number;
}

/** Lays out a workspace from `address` on. */
export function layOutWorkspace(
  address: number,
  config: ModelConfig,
  threads: number,
  { numTables }: WorkspaceKind,
  room: WorkspaceRoom,
  head?: HeadConfig,
) {
  const { rows } = room;
  const dims = allDims(config, head);
  let end = address;
  const reserve = (bytes: number): number => {
    const at = end;
    end = alignUp(at + bytes);
    return at;
  };
  const rowsOf = (dim: number, count = rows): Rows => {
    const strideBytes = padded(dim) * 4;
    return { address: reserve(strideBytes * count), strideBytes };
  };
  const preparedRows = (maxDim: number) => {
    const { address: at } = rowsOf(maxDim);
    return (format: DenseFormat, dim: number): PreparedRows => {
      return { address: at, strideBytes: preparedBytes(dim, format), format };
    };
  };
  const scratchBytes = Math.max(
    threadScratchBytes(config, dims),
    head ? threadScratchBytes(head.transformer, dims) : 0,
  );
  // One stride for both; the MTP module's [embedding | hidden] and its padding use the first.
  const ffnWidth = Math.max(dims.ffn, dims.joined);
  const places = {
    control: reserve(CONTROL_BYTES),
    program: reserve(PROGRAM_BYTES),
    threadScratch: reserve(scratchBytes * threads),
    ids: reserve(rows * 4),
    /** Numbers of the rows whose logits are computed. */
    rowNumbers: reserve(rows * 4),
    /** Of each page table in turn: a table of the rows. */
    rowTable: reserve(numTables * rows * ROW_ENTRY_BYTES),
    /** Of an encoder–decoder: the rows at the ends of their sources, and the first positions of their answers. */
    sourceTable: reserve(config.seq2seq ? rows * ROW_ENTRY_BYTES : 0),
    firsts: reserve(config.seq2seq ? rows * 4 : 0),
    pageTables: reserve(room.tableWords * 4),
    /** At most one task for each row and head. */
    tasks: reserve(rows * dims.tasksPerRow * 16),
    angles: reserve(rows * dims.angles * 4),
    /** What queries are multiplied by in layers without RoPE. */
    temperatures: reserve(hasTemperature(config) ? rows * 4 : 0),
    x: rowsOf(dims.hidden),
    h: rowsOf(dims.hidden),
    prepared: preparedRows(dims.widest),
    preparedLatent: preparedRows(Math.max(dims.queryLatent, 1)),
    latent: rowsOf(Math.max(dims.queryLatent, 1)),
    query: rowsOf(dims.query),
    key: rowsOf(dims.key),
    value: rowsOf(dims.key),
    mixed: rowsOf(dims.mixed),
    gateLogits: rowsOf(gateWidth(config)),
    ffnGate: rowsOf(ffnWidth),
    ffnUp: rowsOf(ffnWidth).address,
    shared: rowsOf(dims.hidden),
    /** Logits of the shared expert's own gate. */
    sharedGate: rowsOf(config.sharedExpertGate ? 1 : 0),
    routed: rowsOf(dims.hidden),
    /** What adapters' first matrices make of the rows, for each product at a time. */
    adapterInner: Array.from({ length: ADAPTER_PRODUCTS }, () => rowsOf(room.ranks)),
    logits: rowsOf(config.vocabSize, HEAD_ROWS),
    /** Token queries about these logits. */
    queries: { address: reserve(QUERY_BYTES * HEAD_ROWS), strideBytes: QUERY_BYTES },
    queryLists: reserve(room.listWords * 4),
    masks: { address: reserve(maskBytes(config.vocabSize) * HEAD_ROWS), strideBytes: maskBytes(config.vocabSize) },
  };
  return { address, bytes: end - address, room, threadScratchBytes: scratchBytes, ...places };
}

/** Sets the barrier's words to 0, once before the first program. */
export function resetWorkspace({ control }: Workspace, bank: Bank): void {
  bank.views.i32.fill(0, control / 4, (control + CONTROL_BYTES) / 4);
}
