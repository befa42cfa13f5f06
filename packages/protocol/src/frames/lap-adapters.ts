import { type ItemAdapters } from '@shoal/model';
import { MAX_ADAPTER_ENTRIES_PER_LAP } from '../limits.ts';
import { FrameError, requireCount } from './error.ts';
import { requireFiniteF32 } from './finite.ts';

/**
 * The bit of a dispatch's `numAssignments` that says that adapters add to some of them: what follows the other arrays then. Only
 * tabs that name `low-rank` among their kinds of experts get such frames.
 */
export const ADAPTED = 0x8000;

export const adapterHeader = { numAdapters: 'u16', numEntries: 'u16', scalesPerEntry: 'u8' } as const;

/** Behind all other arrays of a dispatch, so that those are where they are in one without adapters. */
export const adapterArrays = {
  /** The numbers of the low-rank shards that the lap names. */
  adapters: { element: 'u32', dims: ['numAdapters'] },
  adapterScales: { element: 'f32', dims: ['numEntries', 'scalesPerEntry'] },
  adapterEnds: { element: 'u16', dims: ['numAssignments'] },
  adapterOf: { element: 'u16', dims: ['numEntries'] },
} as const;

/** Scales of gate, up and down. Without any, all are 1. */
const SCALES = 3;

export interface AdapterFields {
  adapters: Uint32Array;
  adapterScales: Float32Array;
  adapterEnds: Uint16Array;
  adapterOf: Uint16Array;
  numAdapters: number;
  numEntries: number;
  scalesPerEntry: number;
}

/** Throws a FrameError for what `readAdapters` would reject. */
export function adapterFields({ ends, of, scales, experts }: ItemAdapters<number>): AdapterFields {
  requireCount('dispatch.numEntries', of.length, MAX_ADAPTER_ENTRIES_PER_LAP);
  const scalesPerEntry = scales.every((scale) => scale === 1) ? 0 : SCALES;
  const fields = {
    adapters: Uint32Array.from(experts),
    adapterScales: scalesPerEntry === 0 ? new Float32Array(0) : scales,
    adapterEnds: Uint16Array.from(ends),
    adapterOf: Uint16Array.from(of),
    numAdapters: experts.length,
    numEntries: of.length,
    scalesPerEntry,
  };
  checkAdapters(fields);
  return fields;
}

/** Checks the counts of a header before anything is read. */
export function checkAdapterCounts(header: Readonly<Record<string, number>>): void {
  requireCount('dispatch.numEntries', header.numEntries!, MAX_ADAPTER_ENTRIES_PER_LAP);
  requireCount('dispatch.numAdapters', header.numAdapters!, header.numEntries!);
  if (header.scalesPerEntry !== 0 && header.scalesPerEntry !== SCALES)
    throw new FrameError('bad-count', `dispatch.scalesPerEntry must be 0 or ${SCALES}, got ${header.scalesPerEntry}.`);
}

/** What a frame's adapters add to its assignments, by the numbers of their low-rank shards. */
export function readAdapters(fields: AdapterFields): ItemAdapters<number> {
  checkAdapters(fields);
  const { adapters, adapterEnds, adapterOf, adapterScales, scalesPerEntry, numEntries } = fields;
  return {
    ends: Uint32Array.from(adapterEnds),
    of: Uint32Array.from(adapterOf),
    scales: scalesPerEntry === 0 ? new Float32Array(SCALES * numEntries).fill(1) : adapterScales,
    experts: [...adapters],
  };
}

function checkAdapters({ adapters, adapterEnds, adapterOf, adapterScales, numEntries }: AdapterFields): void {
  let end = 0;
  for (const [assignment, next] of adapterEnds.entries()) {
    if (next < end) throw new FrameError('bad-order', `dispatch.adapterEnds descends at assignment ${assignment}.`);
    end = next;
  }
  if (end !== numEntries)
    throw new FrameError('bad-order', `dispatch.adapterEnds ends at ${end}, but there are ${numEntries} entries.`);
  const beyond = adapterOf.find((index) => index >= adapters.length);
  if (beyond !== undefined)
    throw new FrameError('bad-order', `dispatch.adapterOf names adapter ${beyond} of ${adapters.length}.`);
  requireFiniteF32('dispatch.adapterScales', adapterScales);
}
