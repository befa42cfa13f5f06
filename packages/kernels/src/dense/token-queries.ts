import {
  type HeadRow,
  leastGap,
  logitsError,
  MAX_TOP_LOGPROBS,
  maskWords,
  nothingAllowed,
  type QueryRow,
  type RowAnswer,
  type SamplingParams,
  type TokenMask,
  type TokenQuery,
} from '@shoal/model';
import { alignUp } from '@shoal/weights';
import type { Bank } from './bank.ts';

/** Byte offsets of a token query and its answer, as in sampling.ts and logit-changes.ts in packages/kernels/wasm/assembly/dense. */
const AT = {
  temperature: 0,
  topP: 8,
  uniform: 16,
  topK: 24,
  known: 28,
  numTop: 32,
  status: 36,
  token: 40,
  logit: 44,
  sum: 48,
  largest: 56,
  row: 60,
  leastGap: 64,
  repetition: 72,
  frequency: 76,
  presence: 80,
  lists: 84,
  numBiased: 88,
  numSeen: 92,
  mask: 96,
  top: 104,
} as const;
const DRAWN = -1;
const NO_LOGPROBS = -1;

const STATUS_CHOSEN = 0;
const STATUS_DAMAGED = 1;
const STATUS_FORBIDDEN = 3;

/** Size of a token query with its answer. */
export const QUERY_BYTES = alignUp(AT.top + MAX_TOP_LOGPROBS * 8);

const BUCKETS = 2048;
const BUCKET_BYTES = 16;

/**
 * Scratch bytes of a thread that answers token queries: a changed row of logits, and two histograms and a word for each token
 * (nucleus.ts).
 */
export function queryScratchBytes(vocabSize: number): number {
  return 2 * BUCKETS * BUCKET_BYTES + alignUp(vocabSize * 4) * 2;
}

/** Rows whose logits are computed at a time, which bounds the memory that a large vocabulary takes. */
export const HEAD_ROWS = 16;

/** The rows whose logits are needed, in parts that the head computes at a time. */
export function headChunks(wanted: readonly HeadRow[]): number[][] {
  const numbers = wanted.flatMap(({ wantLogits, query }, r) => (wantLogits || query ? [r] : []));
  return Array.from({ length: Math.ceil(numbers.length / HEAD_ROWS) }, (_, i) =>
    numbers.slice(i * HEAD_ROWS, (i + 1) * HEAD_ROWS),
  );
}

/** Words of the lists of tokens of some rows' queries: two for each biased or seen token. */
export function listWordsOf(rows: readonly QueryRow[]): number {
  let words = 0;
  for (const { query } of rows) {
    if (!query || typeof query.token === 'number') continue;
    const { biases, penalties } = query.token.changes ?? {};
    words += (biases?.size ?? 0) * 2 + (penalties?.seen.length ?? 0);
  }
  return words;
}

export function maskBytes(vocabSize: number): number {
  return alignUp(maskWords(vocabSize) * 4);
}

/** Where a query and what it refers to are written, and what it is about. */
export interface QueryPlace {
  query: number;
  /** Room for `listWordsOf` words. */
  lists: number;
  /** Room for `maskBytes`. */
  mask: number;
  /** The row of logits. */
  row: number;
}

/** Writes a token query for the threads, with the mask of the tokens that it may draw. */
export function writeQuery(
  bank: Pick<Bank, 'memory'>,
  place: QueryPlace,
  { token, topLogprobs }: TokenQuery,
  mask: TokenMask | undefined,
  vocabSize: number,
): void {
  const view = new DataView(bank.memory.buffer, place.query, QUERY_BYTES);
  const draw = typeof token === 'number' ? undefined : token;
  view.setFloat64(AT.temperature, draw?.temperature ?? 0, true);
  view.setFloat64(AT.topP, draw?.topP ?? 1, true);
  view.setFloat64(AT.uniform, draw?.uniform ?? 0, true);
  view.setInt32(AT.topK, draw?.topK ?? 0, true);
  view.setInt32(AT.known, typeof token === 'number' ? token : DRAWN, true);
  view.setInt32(AT.numTop, topLogprobs ?? NO_LOGPROBS, true);
  view.setInt32(AT.row, place.row, true);
  view.setFloat64(AT.leastGap, leastGap(draw?.minP ?? 0, draw?.temperature ?? 0), true);
  view.setInt32(AT.mask, mask ? place.mask : 0, true);
  if (mask) new Uint32Array(bank.memory.buffer, place.mask).set(mask.subarray(0, maskWords(vocabSize)));
  writeChanges(bank, view, place.lists, draw?.changes ?? {});
}

function writeChanges(
  { memory }: Pick<Bank, 'memory'>,
  view: DataView,
  lists: number,
  { biases, penalties }: NonNullable<SamplingParams['changes']>,
): void {
  view.setInt32(AT.lists, lists, true);
  view.setInt32(AT.numBiased, biases?.size ?? 0, true);
  view.setInt32(AT.numSeen, (penalties?.seen.length ?? 0) / 2, true);
  if (biases) {
    const words = new DataView(memory.buffer, lists, biases.size * 8);
    let at = 0;
    for (const [token, bias] of biases) {
      words.setInt32(at, token, true);
      words.setFloat32(at + 4, bias, true);
      at += 8;
    }
  }
  if (!penalties) return;
  view.setFloat32(AT.repetition, penalties.repetition, true);
  view.setFloat32(AT.frequency, penalties.frequency, true);
  view.setFloat32(AT.presence, penalties.presence, true);
  new Int32Array(memory.buffer, lists + (biases?.size ?? 0) * 8).set(penalties.seen);
}

/** Reads the threads' answer to a token query. */
export function readAnswer({ memory }: Pick<Bank, 'memory'>, address: number, vocabSize: number): RowAnswer {
  const view = new DataView(memory.buffer, address, QUERY_BYTES);
  const tokenId = view.getInt32(AT.token, true);
  const logit = view.getFloat32(AT.logit, true);
  const status = view.getInt32(AT.status, true);
  if (status === STATUS_FORBIDDEN) return nothingAllowed();
  if (status !== STATUS_CHOSEN) return logitsError(status === STATUS_DAMAGED ? { tokenId, logit } : undefined);
  const numTop = view.getInt32(AT.numTop, true);
  if (numTop === NO_LOGPROBS) return { tokenId };
  const norm = view.getFloat32(AT.largest, true) + Math.log(view.getFloat64(AT.sum, true));
  const topLogprobs = Array.from({ length: Math.min(numTop, vocabSize) }, (_, i) => ({
    tokenId: view.getInt32(AT.top + i * 8, true),
    logprob: view.getFloat32(AT.top + i * 8 + 4, true) - norm,
  }));
  return { tokenId, logprob: logit - norm, topLogprobs };
}
