import { adapterRange, type ItemAdapters } from '@shoal/model';
import type { Chunk } from '../../webgpu/chunks.ts';
import type { LapItems } from './lap-items.ts';

/** A Params of adapters.wgsl is bound at multiples of 256 bytes, since its offset changes. */
const PARAMS_WORDS = 64;
const SLOT_WORDS = 4;
const ENTRY_WORDS = 8;
/** As in lap-items.ts. */
const ITEM_WORDS = 4;
const MATRICES = 3;

/** The adapters of a chunk as adapters.wgsl reads them. */
export interface AdapterItems {
  words: Uint32Array<ArrayBuffer>;
  numSlots: number;
  numEntries: number;
  maxRank: number;
}

/** Where a low-rank shard lies in the pool, in words, and its largest rank. */
export interface AdapterPlace {
  word: number;
  rank: number;
}

/** Byte offset of the Params of a matrix: 0 gate, 1 up, 2 down. */
export const paramsOffset = (matrix: number): number => matrix * PARAMS_WORDS * Uint32Array.BYTES_PER_ELEMENT;

/**
 * Lists what is added to the chunk's assignments, and notes in `items`, at each place, the slot that is added to it, from 1; 0 for
 * none. Undefined if nothing is added.
 */
export function adapterItems(
  adapters: ItemAdapters<AdapterPlace> | undefined,
  { firstAssignment, endAssignment }: Chunk,
  { words: lap }: LapItems,
  { hidden, intermediate }: { hidden: number; intermediate: number },
): AdapterItems | undefined {
  if (!adapters) return undefined;
  const [first, end] = adapterRange(adapters, firstAssignment, endAssignment);
  if (first === end) return undefined;
  const places = lap[2]! * ITEM_WORDS;
  const slots: number[] = [];
  const entries: number[] = [];
  const scales: number[] = [];
  let maxRank = 0;
  for (let local = 0; local < endAssignment - firstAssignment; local++) {
    const place = lap[places + local * ITEM_WORDS + 1]!;
    const [from, to] = adapterRange(adapters, firstAssignment + local);
    const slot = slots.length / SLOT_WORDS;
    lap[places + place * ITEM_WORDS + 3] = to > from ? slot + 1 : 0;
    if (to === from) continue;
    for (let i = from; i < to; i++) {
      const { word, rank } = adapters.experts[adapters.of[i]!]!;
      maxRank = Math.max(maxRank, rank);
      entries.push(word, slot);
      scales.push(...adapters.scales.subarray(MATRICES * i, MATRICES * (i + 1)));
    }
    slots.push(from - first, to - first, place, lap[places + place * ITEM_WORDS]!);
  }
  const [numSlots, numEntries] = [slots.length / SLOT_WORDS, entries.length / 2];
  const toSlots = MATRICES * PARAMS_WORDS;
  const toEntries = toSlots + slots.length;
  const words = new Uint32Array(toEntries + numEntries * ENTRY_WORDS);
  const floats = new Float32Array(words.buffer);
  for (let matrix = 0; matrix < MATRICES; matrix++) {
    const stride = matrix === 2 ? intermediate : hidden;
    words.set([matrix, numSlots, numEntries, toSlots, toEntries, stride, maxRank], matrix * PARAMS_WORDS);
  }
  words.set(slots, toSlots);
  for (let i = 0; i < numEntries; i++) {
    words.set(entries.slice(2 * i, 2 * i + 2), toEntries + i * ENTRY_WORDS);
    floats.set(scales.slice(MATRICES * i, MATRICES * (i + 1)), toEntries + i * ENTRY_WORDS + 2);
  }
  return { words, numSlots, numEntries, maxRank };
}
