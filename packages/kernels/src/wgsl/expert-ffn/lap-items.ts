import { rowRange, type RowWork } from '@shoal/model';
import type { Chunk } from '../../webgpu/chunks.ts';
import { stepsOf } from './variants.ts';

/** The rows of one submit: a whole lap, or those of its rows that fit the scratch buffers. */
export interface FfnSize {
  numRows: number;
  numAssignments: number;
}

/** The slab and slot of an expert. */
export interface ExpertPlace {
  slab: GPUBuffer;
  slot: number;
}

/** Some tiles of one slab, for one dispatch. */
export interface TileDispatch {
  slab: GPUBuffer;
  isWide: boolean;
  /** The Part that describes it. */
  part: number;
  numTiles: number;
}

/** A lap as the passes read it, without its rows, and how they are dispatched. */
export interface LapItems {
  /** Parts, then tiles, assignments and rows; see bindings.wgsl. */
  words: Uint32Array<ArrayBuffer>;
  dispatches: readonly TileDispatch[];
  quantiseRowsPart: number;
  quantiseActivationsPart: number;
  combinePart: number;
}

/** Places of one expert that share a load of its weights, in the wide passes. */
export const WIDE_TILE_ROWS = 4;
/** Fewer places than this are computed one by one, since a wide tile computes all its rows, used or not. */
const MIN_WIDE_ROWS = 2;
/** A storage buffer is bound at multiples of 256 bytes. */
const PART_WORDS = 64;
/** One Item of bindings.wgsl. */
const ITEM_WORDS = 4;
/** Parts of the passes over all rows or assignments; two for each slab follow. */
const WHOLE_PARTS = 3;

interface Tile {
  place: ExpertPlace;
  firstPlace: number;
  numPlaces: number;
}

/** Byte offset of a Part in the items. */
export const partOffset = (part: number): number => part * PART_WORDS * Uint32Array.BYTES_PER_ELEMENT;

/** Largest size of a chunk's items in bytes, with one tile per assignment and two parts per slab. */
export function maxItemsBytes({ numRows, numAssignments }: FfnSize, slabs: number): number {
  const parts = WHOLE_PARTS + 2 * slabs;
  return (parts * PART_WORDS + (2 * numAssignments + numRows) * ITEM_WORDS) * Uint32Array.BYTES_PER_ELEMENT;
}

/**
 * Sorts assignments by expert and cuts them into tiles: wide ones if an expert has several rows, and single rows. A row's result
 * is the same in either, whatever other rows share its tile. `space` provides memory for the items, with any content.
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

/** Writes the tile Items from `firstTile` on, and a Part and a dispatch for each kind of tile of each slab. */
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

/** The chunk's assignments, as indices in the lap, sorted by expert; those of one expert keep their order. */
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

/** Writes the assignment and row Items from the start of `words`. */
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
