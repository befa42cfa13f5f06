import { logitsError, MAX_TOP_LOGPROBS, type RowAnswer, type TokenQuery } from '@shoal/model';
import { alignUp } from '@shoal/weights';
import type { Bank } from './bank.ts';

// Byte offsets of a token query and its answer, as in packages/kernels/wasm/assembly/dense/sampling.ts.
const TEMPERATURE = 0;
const TOP_P = 8;
const UNIFORM = 16;
const TOP_K = 24;
const KNOWN = 28;
const NUM_TOP = 32;
const STATUS = 36;
const TOKEN = 40;
const LOGIT = 44;
const SUM = 48;
const LARGEST = 56;
const ROW = 60;
const TOP = 64;
const DRAWN = -1;
const NO_LOGPROBS = -1;

const STATUS_CHOSEN = 0;
const STATUS_DAMAGED = 1;

/** Size of a token query with its answer. */
export const QUERY_BYTES = alignUp(TOP + MAX_TOP_LOGPROBS * 8);

const BUCKETS = 2048;
const BUCKET_BYTES = 16;

/** Scratch bytes of a thread that answers token queries: two histograms and a word for each token (assembly/dense/nucleus.ts). */
export function queryScratchBytes(vocabSize: number): number {
  return 2 * BUCKETS * BUCKET_BYTES + vocabSize * 4;
}

/** Writes a token query about a row of logits for the threads. */
export function writeQuery(
  { memory }: Pick<Bank, 'memory'>,
  address: number,
  row: number,
  { token, topLogprobs }: TokenQuery,
): void {
  const view = new DataView(memory.buffer, address, QUERY_BYTES);
  const draw = typeof token === 'number' ? undefined : token;
  view.setFloat64(TEMPERATURE, draw?.temperature ?? 0, true);
  view.setFloat64(TOP_P, draw?.topP ?? 1, true);
  view.setFloat64(UNIFORM, draw?.uniform ?? 0, true);
  view.setInt32(TOP_K, draw?.topK ?? 0, true);
  view.setInt32(KNOWN, typeof token === 'number' ? token : DRAWN, true);
  view.setInt32(NUM_TOP, topLogprobs ?? NO_LOGPROBS, true);
  view.setInt32(ROW, row, true);
}

/** Reads the threads' answer to a token query. */
export function readAnswer({ memory }: Pick<Bank, 'memory'>, address: number, vocabSize: number): RowAnswer {
  const view = new DataView(memory.buffer, address, QUERY_BYTES);
  const tokenId = view.getInt32(TOKEN, true);
  const logit = view.getFloat32(LOGIT, true);
  const status = view.getInt32(STATUS, true);
  if (status !== STATUS_CHOSEN) return logitsError(status === STATUS_DAMAGED ? { tokenId, logit } : undefined);
  const numTop = view.getInt32(NUM_TOP, true);
  if (numTop === NO_LOGPROBS) return { tokenId };
  const norm = view.getFloat32(LARGEST, true) + Math.log(view.getFloat64(SUM, true));
  const topLogprobs = Array.from({ length: Math.min(numTop, vocabSize) }, (_, i) => ({
    tokenId: view.getInt32(TOP + i * 8, true),
    logprob: view.getFloat32(TOP + i * 8 + 4, true) - norm,
  }));
  return { tokenId, logprob: logit - norm, topLogprobs };
}
