import type { EngineRow, RowAnswer, RowSlots, TokenMask, TokenQuery } from '@shoal/model';
import { mixedExperts, type RowAdapter } from '../../laps/adapted.ts';
import type { BatchOptions } from '../../laps/dispatcher.ts';
import type { LapTrace } from '../generation.ts';
import { type Grace, LateAnswer } from '../grace.ts';
import type { Sequence } from '../sequence.ts';
import { type DraftTree, NO_DRAFTS, pathTo, slotsOf } from '../speculation/draft-tree.ts';

/** The rows of one sequence in a pass. */
export interface BatchEntry {
  sequence: Sequence;
  /** Index of its first row in the batch, and the number of its rows. */
  firstRow: number;
  numRows: number;
  /** Cache length before the pass. */
  startLength: number;
  /** The guessed tokens of its last rows. */
  drafts: DraftTree;
  /** The right ones among them, once the sequence has advanced. */
  accepted: readonly number[];
  /** By row; empty if no notes are needed. */
  notes: readonly RowNotes[];
}

/** What is reported for a row if its token turns out to be right. */
export interface RowNotes {
  traces: LapTrace[];
  /** Layers routed under a device limit, and those in which the limit changed the experts. */
  limitedLayers: number;
  changedLayers: number;
}

/**
 * Takes the last token of every decoding sequence with its drafts, and of the others the prompt rows that `promptRows` gives.
 * `grace` limits how long masks are awaited.
 */
export function assembleBatch(
  sequences: readonly Sequence[],
  promptRows: ReadonlyMap<Sequence, number>,
  grace: Grace,
): { rows: EngineRow[]; entries: BatchEntry[] } {
  const rows: EngineRow[] = [];
  const entries: BatchEntry[] = [];
  for (const sequence of sequences) {
    const cache = sequence.cache!;
    const start = cache.length;
    const prefilling = sequence.state === 'prefill';
    const drafts = prefilling ? NO_DRAFTS : (sequence.speculation?.drafts ?? NO_DRAFTS);
    const numDrafts = drafts.tokens.length;
    const numRows = prefilling ? (promptRows.get(sequence) ?? 0) : 1 + numDrafts;
    if (numRows === 0) continue;
    const notes = wantsNotes(sequence) ? Array.from({ length: numRows }, newNotes) : [];
    entries.push({ sequence, firstRow: rows.length, numRows, startLength: start, drafts, accepted: [], notes });
    const { ids, request } = sequence;
    const adapter = request.adapter?.engine;
    const numKnown = numRows - numDrafts;
    const masks = start + numRows >= ids.length ? masksAfter(sequence, drafts) : [];
    for (let row = 0; row < numRows; row++) {
      const place = placeOf(drafts, row - numKnown, start + numKnown);
      const { position, text, slots } = place ?? { position: start + row, text: [], slots: undefined };
      const tokenId = text.at(-1) ?? ids[position]!;
      const coming = masks[start + row - (ids.length - 1)];
      const mask = coming && grace.limit(coming);
      const query = queryAt(sequence, position, text);
      rows.push({ tokenId, position, cache, slots, query, mask, adapter });
    }
  }
  return { rows, entries };
}

/** Of a draft's row: its position, the drafts up to it, and where they lie; undefined for −1 and less. `first` is the first draft's position. */
function placeOf(
  drafts: DraftTree,
  node: number,
  first: number,
): { position: number; text: number[]; slots: RowSlots } | undefined {
  if (node < 0) return undefined;
  const path = pathTo(drafts, node);
  const position = first + path.length - 1;
  const slots = path.map((each) => first + each);
  return { position, text: path.map((each) => drafts.tokens[each]!), slots: slotsOf(slots, position) };
}

/**
 * The entry as far as it is computed for good. If the masks of its last known token and its drafts were late, these are only the
 * prompt rows before them, or undefined: the cache goes back there, and another pass computes the rest again.
 */
export function inTime(entry: BatchEntry, answers: readonly (RowAnswer | undefined)[]): BatchEntry | undefined {
  const { sequence, firstRow, numRows, startLength, drafts } = entry;
  const before = numRows - drafts.tokens.length - 1;
  if (!(answers[firstRow + before] instanceof LateAnswer)) return entry;
  sequence.constraint!.wasLate();
  sequence.truncate(startLength + before);
  return before > 0 ? { ...entry, numRows: before, drafts: NO_DRAFTS } : undefined;
}

/** The masks of a constrained answer's rows from its last known token on. Its drafts are a chain. */
function masksAfter({ constraint, request }: Sequence, drafts: DraftTree): Promise<TokenMask | undefined>[] {
  return constraint && request.maxTokens > 0 ? constraint.masks(drafts.tokens) : [];
}

/**
 * What the row at a position is asked for: the next token, drawn as it will be if the drafts up to it are right, or the
 * probability of the prompt's next token.
 */
function queryAt(
  { ids, request, sampling }: Sequence,
  position: number,
  drafts: readonly number[],
): TokenQuery | undefined {
  const { topLogprobs, promptIds, maxTokens } = request;
  const ahead = position - (ids.length - 1);
  if (ahead < 0) {
    const next = request.promptLogprobs ? promptIds[position + 1] : undefined;
    return next === undefined ? undefined : { token: next, topLogprobs: request.promptTopLogprobs ?? topLogprobs ?? 0 };
  }
  if (maxTokens === 0) return undefined;
  return { token: sampling.params(drafts), topLogprobs };
}

/**
 * Collects what was requested for each row, and limits the rows of sequences with a device limit. `scalings`: of the rows with a
 * mixture of adapters.
 */
export function batchOptions(
  entries: readonly BatchEntry[],
  scalings: readonly (Float32Array | undefined)[],
): BatchOptions {
  const noted = new Map<number, { notes: RowNotes; sequence: Sequence }>();
  for (const { sequence, firstRow, notes } of entries) {
    for (const [i, each] of notes.entries()) noted.set(firstRow + i, { notes: each, sequence });
  }
  const isTraced = entries.some(({ sequence }) => sequence.request.trace);
  const isLimited = entries.some(({ sequence }) => sequence.deviceLimit);
  const adapters = rowAdapters(entries, scalings);
  return {
    ...(adapters && { adapters }),
    ...(isTraced && { trace: (row, trace) => noted.get(row)?.notes.traces.push(trace) }),
    ...(isLimited && {
      maxPeers: (row) => noted.get(row)?.sequence.deviceLimit?.maxPeers,
      onLimited: (row, changed) => {
        const { notes } = noted.get(row)!;
        notes.limitedLayers++;
        if (changed) notes.changedLayers++;
      },
    }),
  };
}

/** What the sequences' adapters add to routed experts, by row; undefined if they add nothing. */
function rowAdapters(
  entries: readonly BatchEntry[],
  scalings: readonly (Float32Array | undefined)[],
): BatchOptions['adapters'] {
  const byRow = new Map<number, readonly RowAdapter[]>();
  for (const { sequence, firstRow, numRows } of entries) {
    const { experts, mixture } = sequence.request.adapter ?? {};
    const plain = experts && experts.size > 0 ? [{ experts }] : [];
    for (let row = firstRow; row < firstRow + numRows; row++) {
      const adapters = mixture ? mixedExperts(mixture, scalings[row]!) : plain;
      if (adapters.length > 0) byRow.set(row, adapters);
    }
  }
  return byRow.size > 0 ? (row) => byRow.get(row) ?? [] : undefined;
}

function wantsNotes({ request, deviceLimit }: Sequence): boolean {
  return request.trace === true || deviceLimit !== undefined;
}

function newNotes(): RowNotes {
  return { traces: [], limitedLayers: 0, changedLayers: 0 };
}
