import type { EngineRow } from '@shoal/model';
import type { BatchOptions } from '../dispatch/dispatcher.ts';
import type { DeviceLimitUsage } from './contract.ts';
import type { Sequence } from './sequence.ts';

/** What a pass computes of one sequence. */
export interface BatchEntry {
  sequence: Sequence;
  /** Index of its first row in the batch, and how many rows. */
  firstRow: number;
  numRows: number;
  /** Cache length before the pass. */
  startLength: number;
}

/** One row of every decoding sequence, and of the others as many prompt rows as `promptRows` says. */
export function assembleBatch(
  sequences: readonly Sequence[],
  promptRows: ReadonlyMap<Sequence, number>,
): { rows: EngineRow[]; entries: BatchEntry[] } {
  const rows: EngineRow[] = [];
  const entries: BatchEntry[] = [];
  for (const sequence of sequences) {
    const cache = sequence.cache!;
    const start = cache.length;
    const numRows = sequence.state === 'prefill' ? (promptRows.get(sequence) ?? 0) : 1;
    if (numRows === 0) continue;
    entries.push({ sequence, firstRow: rows.length, numRows, startLength: start });
    for (let position = start; position < start + numRows; position++) {
      const isLast = position === sequence.ids.length - 1;
      const wantLogits = isLast || sequence.request.promptLogprobs === true;
      rows.push({ tokenId: sequence.ids[position]!, position, cache, wantLogits });
    }
  }
  return { rows, entries };
}

/** Hands each traced sequence the laps of the row that its next token comes from, and limits the rows of limited ones. */
export function batchOptions(entries: readonly BatchEntry[]): BatchOptions {
  const traced = new Map<number, Sequence>();
  const limited = new Map<number, DeviceLimitUsage>();
  for (const { sequence, firstRow, numRows, startLength } of entries) {
    const isLast = startLength + numRows === sequence.ids.length;
    if (sequence.request.trace && isLast) traced.set(firstRow + numRows - 1, sequence);
    const { deviceLimit } = sequence;
    if (deviceLimit) for (let row = firstRow; row < firstRow + numRows; row++) limited.set(row, deviceLimit);
  }
  return {
    ...(traced.size > 0 && { trace: (row, trace) => traced.get(row)?.traces.push(trace) }),
    ...(limited.size > 0 && {
      maxPeers: (row) => limited.get(row)?.maxPeers,
      onLimited: (row, changed) => {
        const usage = limited.get(row)!;
        usage.tokenLayers++;
        if (changed) usage.changed++;
      },
    }),
  };
}
