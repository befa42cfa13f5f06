import { kvWidth, type ModelConfig } from '@shoal/model';
import type { DenseFormat } from '@shoal/weights';
import { aligned, type Bank } from './bank.ts';
import { PROGRAM_BYTES, type PreparedRows, type Rows } from './program.ts';
import { QUERY_BYTES, queryScratchBytes } from './token-queries.ts';

/** Rows whose logits are computed at a time: they bound the memory that a large vocabulary takes. */
export const HEAD_ROWS = 16;
/** Queries of one task of attention: they share each block of the cache that is decoded. */
export const TILE_QUERIES = 16;
/** Rows of one sequence in a task. */
export const TILE_ROWS = 8;
const BLOCK_COLS = 32;
const ROW_ENTRY_BYTES = 16;
/** Arrivals and generation, a cache line apart from what follows. */
const CONTROL_BYTES = 64;

const padded = (dim: number): number => Math.ceil(dim / BLOCK_COLS) * BLOCK_COLS;
const pad4 = (dim: number): number => Math.ceil(dim / 4) * 4;

/** Bytes of a row prepared for weights of a format: packages/kernels/wasm/assembly/engine/prepare.ts. */
export function preparedBytes(dim: number, format: DenseFormat): number {
  const blocks = Math.ceil(dim / BLOCK_COLS);
  return format === 'q8' || format === 'q4' ? blocks * 64 + Math.ceil(blocks / 4) * 16 : blocks * 128;
}

/** Dimensions of a model's intermediate results. */
export interface WorkDims {
  hidden: number;
  /** Queries of all heads. */
  query: number;
  /** MLA: width of the query latent, 0 without; GQA: 0. */
  queryLatent: number;
  /** MLA: [c | k_pe]; GQA: keys (values follow in a buffer of the same size). */
  key: number;
  /** Attention's result before its last projection. */
  mixed: number;
  /** The widest FFN. */
  ffn: number;
  experts: number;
  vocab: number;
  ropePairs: number;
}

export function workDims(config: ModelConfig): WorkDims {
  const { attention } = config;
  const heads = attention.numAttentionHeads;
  const isMla = attention.kind === 'mla';
  return {
    hidden: config.hiddenSize,
    query: heads * (isMla ? attention.qkNopeHeadDim + attention.qkRopeHeadDim : attention.headDim),
    queryLatent: isMla ? (attention.qLoraRank ?? 0) : 0,
    key: isMla ? kvWidth(attention) : attention.numKeyValueHeads * attention.headDim,
    mixed: heads * (isMla ? attention.vHeadDim : attention.headDim),
    ffn: Math.max(config.sharedIntermediateSize, config.layerKinds.includes('dense') ? config.intermediateSize : 0),
    experts: config.nRoutedExperts,
    vocab: config.vocabSize,
    ropePairs: config.rope.dim / 2,
  };
}

/** Bytes of scratch that one thread needs: operations.ts says what for. */
export function threadScratchBytes(config: ModelConfig, dims: WorkDims): number {
  const widest = padded(Math.max(dims.hidden * (config.numNextnPredictLayers ? 2 : 1), dims.mixed, dims.ffn));
  const product = Math.max(widest, padded(dims.queryLatent)) * 16 + 64;
  const { attention } = config;
  const [key, value] =
    attention.kind === 'mla'
      ? [pad4(attention.kvLoraRank) + pad4(attention.qkRopeHeadDim), pad4(attention.kvLoraRank)]
      : [2 * pad4(attention.headDim), pad4(attention.headDim)];
  const queries = attention.kind === 'mla' ? TILE_QUERIES : Math.max(TILE_QUERIES, groupSize(config));
  const inner = attention.kind === 'mla' ? padded(Math.max(attention.qkNopeHeadDim, attention.kvLoraRank)) : 0;
  const attend = 64 + queries * (key + value + 4) * 4 + 16 * key * 4 + TILE_ROWS * inner * 4 + inner * 16 + 64;
  return Math.ceil(Math.max(product, attend, widest * 4, queryScratchBytes(dims.vocab)) / 64) * 64 + 64;
}

/** Query heads that share a key head. */
export function groupSize({ attention }: ModelConfig): number {
  return attention.kind === 'mla' ? 1 : attention.numAttentionHeads / attention.numKeyValueHeads;
}

/** Where a bank keeps a pass's intermediate results, from `address` on. `rows` and `tableWords` are what it has room for. */
export class Workspace {
  readonly address: number;
  readonly bytes: number;
  readonly rows: number;
  readonly tableWords: number;
  readonly control: number;
  readonly program: number;
  readonly threadScratch: number;
  readonly threadScratchBytes: number;
  readonly ids: number;
  /** Of the rows whose logits are wanted. */
  readonly rowNumbers: number;
  readonly rowTable: number;
  readonly pageTables: number;
  readonly tasks: number;
  readonly maxTasks: number;
  readonly angles: number;
  readonly x: Rows;
  readonly h: Rows;
  readonly prepared: (format: DenseFormat, dim: number) => PreparedRows;
  readonly preparedLatent: (format: DenseFormat, dim: number) => PreparedRows;
  readonly latent: Rows;
  readonly query: Rows;
  readonly key: Rows;
  readonly value: Rows;
  readonly mixed: Rows;
  readonly gateLogits: Rows;
  readonly ffnGate: Rows;
  readonly ffnUp: number;
  readonly shared: Rows;
  readonly routed: Rows;
  readonly logits: Rows;
  /** About these logits. */
  readonly queries: Rows;

  constructor(address: number, config: ModelConfig, threads: number, rows: number, tableWords: number) {
    const dims = workDims(config);
    let end = address;
    const reserve = (bytes: number): number => {
      const at = end;
      end = aligned(at + bytes);
      return at;
    };
    const rowsOf = (dim: number, count = rows): Rows => {
      const strideBytes = padded(dim) * 4;
      return { address: reserve(strideBytes * count), strideBytes };
    };
    this.address = address;
    this.rows = rows;
    this.tableWords = tableWords;
    this.control = reserve(CONTROL_BYTES);
    this.program = reserve(PROGRAM_BYTES);
    this.threadScratchBytes = threadScratchBytes(config, dims);
    this.threadScratch = reserve(this.threadScratchBytes * threads);
    this.ids = reserve(rows * 4);
    this.rowNumbers = reserve(rows * 4);
    this.rowTable = reserve(rows * ROW_ENTRY_BYTES);
    this.pageTables = reserve(tableWords * 4);
    this.maxTasks = rows * config.attention.numAttentionHeads;
    this.tasks = reserve(this.maxTasks * 16);
    this.angles = reserve(rows * dims.ropePairs * 2 * 4);
    this.x = rowsOf(dims.hidden);
    this.h = rowsOf(dims.hidden);
    const widest = Math.max(dims.hidden * (config.numNextnPredictLayers ? 2 : 1), dims.mixed, dims.ffn);
    const preparedAt = rowsOf(widest).address;
    this.prepared = (format, dim) => ({ address: preparedAt, strideBytes: preparedBytes(dim, format), format });
    const latentAt = rowsOf(Math.max(dims.queryLatent, 1)).address;
    this.preparedLatent = (format, dim) => ({ address: latentAt, strideBytes: preparedBytes(dim, format), format });
    this.latent = rowsOf(Math.max(dims.queryLatent, 1));
    this.query = rowsOf(dims.query);
    this.key = rowsOf(dims.key);
    this.value = rowsOf(dims.key);
    this.mixed = rowsOf(dims.mixed);
    this.gateLogits = rowsOf(dims.experts);
    // One stride for both; the MTP module's [embedding | hidden] and its padding use the first.
    this.ffnGate = rowsOf(Math.max(dims.ffn, 2 * dims.hidden + BLOCK_COLS));
    this.ffnUp = rowsOf(Math.max(dims.ffn, 2 * dims.hidden + BLOCK_COLS)).address;
    this.shared = rowsOf(dims.hidden);
    this.routed = rowsOf(dims.hidden);
    this.logits = rowsOf(dims.vocab, HEAD_ROWS);
    this.queries = { address: reserve(QUERY_BYTES * HEAD_ROWS), strideBytes: QUERY_BYTES };
    this.bytes = end - address;
  }

  /** No thread has arrived at a barrier yet: to be called once, before the first program. */
  reset(bank: Bank): void {
    bank.views.i32.fill(0, this.control / 4, (this.control + CONTROL_BYTES) / 4);
  }
}
