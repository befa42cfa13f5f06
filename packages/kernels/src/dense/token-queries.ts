import { logitsError, MAX_TOP_LOGPROBS, type RowAnswer, type TokenQuery } from '@shoal/model';
import { alignUp } from '@shoal/weights';
import type { Bank } from './bank.ts';

/** Byte offsets of a token query and its answer, as in packages/kernels/wasm/assembly/dense/sampling.ts. */
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
  top: 64,
} as const;
const DRAWN = -1;
const NO_LOGPROBS = -1;

const STATUS_CHOSEN = 0;
const STATUS_DAMAGED = 1;

/** Size of a token query with its answer. */
export const QUERY_BYTES = alignUp(AT.top + MAX_TOP_LOGPROBS * 8);

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
  view.setFloat64(AT.temperature, draw?.temperature ?? 0, true);
  view.setFloat64(AT.topP, draw?.topP ?? 1, true);
  view.setFloat64(AT.uniform, draw?.uniform ?? 0, true);
  view.setInt32(AT.topK, draw?.topK ?? 0, true);
  view.setInt32(AT.known, typeof token === 'number' ? token : DRAWN, true);
  view.setInt32(AT.numTop, topLogprobs ?? NO_LOGPROBS, true);
  view.setInt32(AT.row, row, true);
}

/** Reads the threads' answer to a token query. */
export function readAnswer({ memory }: Pick<Bank, 'memory'>, address: number, vocabSize: number): RowAnswer {
  const view = new DataView(memory.buffer, address, QUERY_BYTES);
  const tokenId = view.getInt32(AT.token, true);
  const logit = view.getFloat32(AT.logit, true);
  const status = view.getInt32(AT.status, true);
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
