import { MinHeap } from './heap.ts';
import type { Ledger } from './ledger.ts';
import { RoomIndex } from './room-index.ts';
import type { ExpertIndex } from './types.ts';

/** Experts of one layer that should sit together. */
interface Piece {
  layer: number;
  experts: ExpertIndex[];
}

/**
 * Places missing replicas, every expert once before any twice. What a layer is missing goes to one bin if one has room, else is
 * split by routing groups, else into as few fragments as possible.
 *
 * @param counts [numExperts] wanted replicas
 */
export function fill(ledger: Ledger, counts: Int32Array): void {
  const rounds = counts.reduce((most, count) => Math.max(most, count), 0);
  for (let replica = 1; replica <= rounds; replica++) {
    const missing = (expert: ExpertIndex) => ledger.holders[expert]!.length < Math.min(replica, counts[expert]!);
    const layers = placeWhole(ledger, piecesOf(ledger, 1, missing));
    if (layers.length === 0) continue;
    const groups = ledger.model.groupsPerLayer;
    const left = groups === 1 ? layers : placeWhole(ledger, piecesOf(ledger, groups, missing));
    if (left.length > 0) placeFragments(ledger, left);
  }
}

/**
 * Splits each layer into `parts` and returns the missing experts of each: all first parts, then all second ones. When room runs
 * out, many layers then lack one group, which fits beside the layer's other groups, instead of a few lacking everything.
 */
function piecesOf(ledger: Ledger, parts: number, missing: (expert: ExpertIndex) => boolean): Piece[] {
  const { expertsPerLayer } = ledger.model;
  const size = expertsPerLayer / parts;
  const pieces: Piece[] = [];
  for (let part = 0; part < parts; part++) {
    for (let layer = 0; layer < ledger.numLayers; layer++) {
      const first = layer * expertsPerLayer + part * size;
      const experts: ExpertIndex[] = [];
      for (let expert = first; expert < first + size; expert++) if (missing(expert)) experts.push(expert);
      if (experts.length > 0) pieces.push({ layer, experts });
    }
  }
  return pieces;
}

/** Places each piece in one bin, largest first; returns the pieces that fit in none. */
function placeWhole(ledger: Ledger, pieces: readonly Piece[]): Piece[] {
  const bySize = [...pieces].sort((a, b) => b.experts.length - a.experts.length);
  const left: Piece[] = [];
  let heap: { bins: MinHeap; size: number } | undefined;
  for (const piece of bySize) {
    const size = piece.experts.length;
    const beside = besideOthers(ledger, piece);
    if (beside !== undefined) {
      for (const expert of piece.experts) ledger.place(beside, expert);
      continue;
    }
    if (heap?.size !== size) heap = { size, bins: binsWithRoom(ledger, size) };
    if (!placeInBest(ledger, heap.bins, piece)) left.push(piece);
  }
  return left;
}

/** Bins with room for `size` experts, by score. Placing only raises scores, so a stale one is noticed when popped. */
function binsWithRoom(ledger: Ledger, size: number): MinHeap {
  const heap = new MinHeap();
  for (let bin = 0; bin < ledger.numBins; bin++) if (ledger.widest(bin) >= size) heap.push(bin, ledger.score(bin));
  return heap;
}

/** The bin with room for the piece that already holds most of the layer, so that no peer is added to the layer. */
function besideOthers(ledger: Ledger, { layer, experts }: Piece): number | undefined {
  let best: number | undefined;
  for (const bin of ledger.layerBins[layer]!) {
    if (!fits(ledger, bin, layer, experts)) continue;
    if (best === undefined || ledger.heldOf(bin, layer) > ledger.heldOf(best, layer)) best = bin;
  }
  return best;
}

function placeInBest(ledger: Ledger, heap: MinHeap, { layer, experts }: Piece): boolean {
  const passed: number[] = [];
  let found = false;
  for (let top = heap.pop(); top !== undefined && !found; top = found ? undefined : heap.pop()) {
    const { value: bin, key } = top;
    // Too full by now for any piece of this size.
    if (ledger.widest(bin) < experts.length) continue;
    const score = ledger.score(bin);
    if (score > key) {
      heap.push(bin, score);
      continue;
    }
    passed.push(bin);
    found = fits(ledger, bin, layer, experts);
    if (found) for (const expert of experts) ledger.place(bin, expert);
  }
  for (const bin of passed) if (ledger.widest(bin) >= experts.length) heap.push(bin, ledger.score(bin));
  return found;
}

function fits(ledger: Ledger, bin: number, layer: number, experts: readonly ExpertIndex[]): boolean {
  return ledger.room(bin, layer) >= experts.length && experts.every((expert) => ledger.mayHold(bin, expert));
}

/** Breaks pieces up: first beside the layer's other experts, then into as few and as large fragments as there is room for. */
function placeFragments(ledger: Ledger, pieces: readonly Piece[]): void {
  const rooms = new RoomIndex(ledger);
  for (const { layer, experts } of pieces) {
    // The busiest experts stay together, so that few tokens need the smaller fragments.
    let left = [...experts].sort((a, b) => ledger.share(b) - ledger.share(a) || a - b);
    for (const bin of besideByRoom(ledger, layer)) left = placeSome(ledger, rooms, bin, layer, left);
    while (left.length > 0) {
      const bin = rooms.bestFor(layer, left);
      if (bin === undefined) break;
      left = placeSome(ledger, rooms, bin, layer, left);
    }
  }
}

function besideByRoom(ledger: Ledger, layer: number): number[] {
  return ledger.layerBins[layer]!.filter((bin) => ledger.room(bin, layer) > 0).sort(
    (a, b) => ledger.room(b, layer) - ledger.room(a, layer) || a - b,
  );
}

/** Places as many experts as the bin can take; returns the others. */
function placeSome(
  ledger: Ledger,
  rooms: RoomIndex,
  bin: number,
  layer: number,
  experts: readonly ExpertIndex[],
): ExpertIndex[] {
  const left: ExpertIndex[] = [];
  for (const expert of experts) {
    if (ledger.room(bin, layer) > 0 && ledger.mayHold(bin, expert)) ledger.place(bin, expert);
    else left.push(expert);
  }
  if (left.length < experts.length) rooms.update(bin);
  return left;
}
