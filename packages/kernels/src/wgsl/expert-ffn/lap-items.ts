import { rowRange, type RowWork } from '@shoal/model';
import type { Chunk } from '../../webgpu/chunks.ts';
import { stepsOf } from './variants.ts';

/** Places of one expert that share a load of its weights, in the wide passes. */
export const WIDE_TILE_ROWS = 4;
/** Fewer than this are taken one by one: a wide tile computes all its rows, wanted or not. */
const MIN_WIDE_ROWS = 2;
/** A storage buffer is bound at multiples of 256 bytes. */
const PART_WORDS = 64;
/** One Item of bindings.wgsl. */
const ITEM_WORDS = 4;
/** Parts of the passes that take everything; two for each slab follow. */
const WHOLE_PARTS = 3;

/** Where an expert lies: which of its layer's buffers, and which slot of it. */
export interface ExpertPlace {
  slab: GPUBuffer;
  slot: number;
}

/** Some tiles of one slab, for one dispatch. */
export interface TileDispatch {
  slab: GPUBuffer;
  isWide: boolean;
  /** Which Part describes it. */
  part: number;
  numTiles: number;
}

/** What the passes read of a lap besides its rows, and how they are to be dispatched. */
export interface LapItems {
  /** Parts, then tiles, assignments and rows; see bindings.wgsl. */
  words: Uint32Array<ArrayBuffer>;
  dispatches: readonly TileDispatch[];
  /** Parts of the passes that take everything. */
  quantiseRowsPart: number;
  quantiseActivationsPart: number;
  combinePart: number;
}

interface Tile {
  place: ExpertPlace;
  firstPlace: number;
  numPlaces: number;
}

/** Byte offset of a Part in the items. */
export const partOffset = (part: number): number => part * PART_WORDS * Uint32Array.BYTES_PER_ELEMENT;

/** Bytes that the items of a chunk take at most: one tile per assignment, a slab for each two parts. */
export function maxItemsBytes({ numRows, numAssignments }: { numRows: number; numAssignments: number }, slabs: number) {
  const parts = WHOLE_PARTS + 2 * slabs;
  return (parts * PART_WORDS + (2 * numAssignments + numRows) * ITEM_WORDS) * Uint32Array.BYTES_PER_ELEMENT;
}

/**
 * Assignments sorted by expert and cut into tiles: wide ones where an expert has several rows, and single rows. A row's result
 * is the same in either, so it doesn't matter who shares its tile. `space` gives the items room; what lies in it is of no matter.
 */
export function lapItems(
  lap: RowWork,
  chunk: Chunk,
  shape: { hiddenSize: number; moeIntermediateSize: number },
  placeOf: (expert: number) => ExpertPlace,
  space: (words: number) => Uint32Array<ArrayBuffer> = (words) => new Uint32Array(words),
): LapItems {
  const numRows = chunk.endRow - chunk.firstRow;
  const numAssignments = chunk.endAssignment - chunk.firstAssignment;
  const sorted = sortedByExpert(lap, chunk);
  const bySlab = tilesBySlab(lap, sorted, placeOf);
  const numTiles = bySlab.reduce((sum, { wide, narrow }) => sum + wide.length + narrow.length, 0);
  const numParts = WHOLE_PARTS + 2 * bySlab.length;
  const firstTile = (numParts * PART_WORDS) / ITEM_WORDS;
  const firstAssignment = firstTile + numTiles;
  const firstRow = firstAssignment + numAssignments;
  const words = space((firstRow + numRows) * ITEM_WORDS);
  const setPart = (part: number, from: number, to: number): number => {
    words.set([from, to, firstAssignment, firstRow], part * PART_WORDS);
    return part;
  };
  const dispatches = writeTiles(bySlab, firstTile, words, setPart);
  writeAssignments(lap, chunk, sorted, words.subarray(firstAssignment * ITEM_WORDS));
  return {
    words,
    dispatches,
    quantiseRowsPart: setPart(0, 0, numRows * stepsOf(shape.hiddenSize)),
    quantiseActivationsPart: setPart(1, 0, numAssignments * stepsOf(shape.moeIntermediateSize)),
    combinePart: setPart(2, 0, numRows),
  };
}

/** The tile Items from `firstTile` on, and a Part and a dispatch for each kind of tiles of each slab. */
function writeTiles(
  bySlab: readonly SlabTiles[],
  firstTile: number,
  words: Uint32Array,
  setPart: (part: number, from: number, to: number) => number,
): TileDispatch[] {
  const dispatches: TileDispatch[] = [];
  let next = firstTile;
  for (const [i, { slab, wide, narrow }] of bySlab.entries()) {
    for (const [kind, tiles] of [wide, narrow].entries()) {
      if (tiles.length === 0) continue;
      const part = setPart(WHOLE_PARTS + 2 * i + kind, next, next + tiles.length);
      dispatches.push({ slab, isWide: kind === 0, part, numTiles: tiles.length });
      for (const { place, firstPlace, numPlaces } of tiles) {
        words.set([place.slot, firstPlace, numPlaces], next++ * ITEM_WORDS);
      }
    }
  }
  return dispatches;
}

/** Assignments of the chunk, counted within the lap, by expert; those of one expert in their own order. */
function sortedByExpert(lap: RowWork, { firstAssignment, endAssignment }: Chunk): Uint32Array {
  const sorted = Uint32Array.from({ length: endAssignment - firstAssignment }, (_, i) => firstAssignment + i);
  return sorted.sort((a, b) => lap.experts[a]! - lap.experts[b]! || a - b);
}

interface SlabTiles {
  slab: GPUBuffer;
  wide: Tile[];
  narrow: Tile[];
}

function tilesBySlab(
  lap: RowWork,
  sorted: Uint32Array,
  placeOf: (expert: number) => ExpertPlace,
): readonly SlabTiles[] {
  const slabs = new Map<GPUBuffer, SlabTiles>();
  for (let first = 0; first < sorted.length;) {
    const expert = lap.experts[sorted[first]!]!;
    let end = first + 1;
    while (end < sorted.length && lap.experts[sorted[end]!] === expert) end++;
    const place = placeOf(expert);
    const tiles = slabs.get(place.slab) ?? { slab: place.slab, wide: [], narrow: [] };
    slabs.set(place.slab, tiles);
    while (first < end) {
      const isWide = end - first >= MIN_WIDE_ROWS;
      const numPlaces = isWide ? Math.min(WIDE_TILE_ROWS, end - first) : 1;
      (isWide ? tiles.wide : tiles.narrow).push({ place, firstPlace: first, numPlaces });
      first += numPlaces;
    }
  }
  return [...slabs.values()];
}

/** The assignment and row Items, from the start of `words`. */
function writeAssignments(lap: RowWork, chunk: Chunk, sorted: Uint32Array, words: Uint32Array<ArrayBuffer>): void {
  const { firstRow, endRow, firstAssignment } = chunk;
  const floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  const rowOf = new Uint32Array(sorted.length);
  for (let row = firstRow; row < endRow; row++) {
    const [start, end] = rowRange(lap, row);
    rowOf.fill(row - firstRow, start - firstAssignment, end - firstAssignment);
    const word = (sorted.length + row - firstRow) * ITEM_WORDS;
    words[word] = start - firstAssignment;
    words[word + 1] = end - firstAssignment;
  }
  for (const [place, assignment] of sorted.entries()) {
    const local = assignment - firstAssignment;
    words[place * ITEM_WORDS] = rowOf[local]!;
    words[local * ITEM_WORDS + 1] = place;
    floats[local * ITEM_WORDS + 2] = lap.weights[assignment]!;
  }
}
