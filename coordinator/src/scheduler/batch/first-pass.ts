import {
  computeScalings,
  type EngineRow,
  type ExpertDispatch,
  firstPassScalings,
  type ForwardEngine,
  type ForwardObserver,
} from '@shoal/model';
import { mixedExperts } from '../../laps/adapted.ts';
import type { BatchOptions } from '../../laps/batch-options.ts';
import type { Sequence } from '../sequence.ts';
import type { BatchEntry } from './batch.ts';

/** What a first pass has given to a pass's rows: scalings and faults of those with a mixture of adapters, which are none if no row has one. */
export interface FirstPass {
  /** With their scalings. */
  rows: readonly EngineRow[];
  scalings: readonly (Float32Array | undefined)[];
  faults: readonly (Error | undefined)[];
}

interface Place {
  sequence: Sequence;
  /** In the pass that follows. */
  row: number;
}

/**
 * The first pass of the rows that have a mixture of adapters: the scalings of a row are known only when its hidden state is, so
 * that its token costs two passes. Other rows of the batch wait for it.
 */
export async function runFirstPass(
  { forward, experts }: { forward: ForwardEngine; experts: { batch(options?: BatchOptions): ExpertDispatch } },
  { rows, entries }: { rows: readonly EngineRow[]; entries: readonly BatchEntry[] },
  { pass, observe }: { pass: BatchOptions['pass']; observe: ForwardObserver },
): Promise<FirstPass> {
  const places = entries.flatMap(({ sequence, firstRow, numRows }): Place[] =>
    sequence.firstPass ? Array.from({ length: numRows }, (_, i) => ({ sequence, row: firstRow + i })) : [],
  );
  const scalings: (Float32Array | undefined)[] = [];
  const faults: (Error | undefined)[] = [];
  if (places.length === 0) return { rows, scalings, faults };
  const first = places.map(({ sequence: { request, firstPass }, row }) => {
    return { ...rows[row]!, mixture: request.adapter!.mixture!, cache: firstPass!.cache };
  });
  const found = await computeScalings(forward, first, experts.batch({ pass, ...optionsOf(places) }), observe);
  for (const [i, { row }] of places.entries()) {
    scalings[row] = found.scalings[i]!;
    faults[row] = found.faults?.[i];
  }
  return { rows: rows.map((row, r) => (scalings[r] ? { ...row, scalings: scalings[r] } : row)), scalings, faults };
}

/** As `batchOptions`, but for what is counted and traced, which the second pass does. */
function optionsOf(places: readonly Place[]): BatchOptions {
  const isLimited = places.some(({ sequence }) => sequence.deviceLimit);
  const adapters = places.map(({ sequence }) => {
    const mixture = sequence.request.adapter!.mixture!;
    const scalings = firstPassScalings(mixture);
    return scalings ? mixedExperts(mixture, scalings) : [];
  });
  return {
    ...(isLimited && { maxPeers: (row) => places[row]!.sequence.deviceLimit?.maxPeers }),
    ...(adapters.some(({ length }) => length > 0) && { adapters: (row) => adapters[row]! }),
  };
}
