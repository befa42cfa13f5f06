import type { Ledger } from './ledger.ts';
import type { ExpertIndex } from './types.ts';

/**
 * Experts move only if their present peer's score is worse by this factor: measured loads and round trips vary, and every move
 * costs a download.
 */
const BALANCE_MARGIN = 1.25;
/** Receivers examined for each part that might move; further ones would gain less. */
const MAX_RECEIVERS = 16;
/** Passes over all peers; further moves can wait for the next plan. */
const MAX_PASSES = 8;

/** Experts that may still be moved, those that were, and whether the budget held some back. */
export interface MoveBudget {
  experts: number;
  moved: number;
  deferred: boolean;
}

/**
 * Improves what is already placed: gathers fragments of a layer or group where room for all of it has opened, and moves layers
 * from the busiest peers to the idlest. Every move is a strict improvement, so an improved plan is stable. Returns whether
 * anything moved.
 */
export function improve(ledger: Ledger, budget: MoveBudget): boolean {
  const movedBefore = budget.moved;
  for (let pass = 0; pass < MAX_PASSES; pass++) {
    const gathered = gatherAll(ledger, budget);
    const balanced = balance(ledger, budget);
    if (!gathered && !balanced) return budget.moved > movedBefore;
  }
  budget.deferred = true;
  return true;
}

function spend(budget: MoveBudget, experts: number): boolean {
  if (experts > budget.experts) {
    budget.deferred = true;
    return false;
  }
  budget.experts -= experts;
  budget.moved += experts;
  return true;
}

function gatherAll(ledger: Ledger, budget: MoveBudget): boolean {
  const { expertsPerLayer, groupsPerLayer } = ledger.model;
  let gathered = false;
  for (const size of new Set([expertsPerLayer, expertsPerLayer / groupsPerLayer])) {
    let roomy: readonly number[] | undefined;
    for (let first = 0; first < ledger.numExperts; first += size) {
      // Most are whole already, so bins with room are only looked up when needed.
      if (!gather(ledger, first, size, () => (roomy ??= binsWithRoom(ledger, size)), budget)) continue;
      gathered = true;
      roomy = undefined;
    }
  }
  return gathered;
}

/** Bins with room for `size` experts, best first. */
function binsWithRoom(ledger: Ledger, size: number): readonly number[] {
  const bins: number[] = [];
  const scores = new Float64Array(ledger.numBins);
  for (let bin = 0; bin < ledger.numBins; bin++) {
    if (ledger.widest(bin) < size) continue;
    bins.push(bin);
    scores[bin] = ledger.score(bin);
  }
  return bins.sort((a, b) => scores[a]! - scores[b]! || a - b);
}

/** Gathers fragments into one more whole copy of a layer or group, if a bin can take all of it. */
function gather(
  ledger: Ledger,
  first: number,
  size: number,
  roomy: () => readonly number[],
  budget: MoveBudget,
): boolean {
  if (isWhole(ledger, first, size)) return false;
  const inBin = new Map<number, number>();
  for (let expert = first; expert < first + size; expert++) {
    for (const bin of ledger.holders[expert]!) inBin.set(bin, (inBin.get(bin) ?? 0) + 1);
  }
  const best = bestFragment(ledger, first, size, inBin) ?? bestEmpty(ledger, first, size, inBin, roomy);
  if (best === undefined || !spend(budget, best.sources.size)) return false;
  for (const [expert, source] of best.sources) {
    ledger.remove(source, expert);
    ledger.place(best.bin, expert);
  }
  return true;
}

interface Receiver {
  bin: number;
  /** Where each expert that it lacks would come from. */
  sources: Map<ExpertIndex, number>;
}

/** Of the bins that hold some of the experts, the one that lacks the fewest. */
function bestFragment(
  ledger: Ledger,
  first: number,
  size: number,
  inBin: ReadonlyMap<number, number>,
): Receiver | undefined {
  const layer = ledger.layerOf(first);
  let best: (Receiver & { score: number }) | undefined;
  for (const [bin, count] of inBin) {
    const lacking = size - count;
    if (lacking === 0 || ledger.room(bin, layer) < lacking) continue;
    if (best !== undefined && lacking > best.sources.size) continue;
    const score = ledger.score(bin);
    if (best !== undefined && lacking === best.sources.size && score >= best.score) continue;
    const sources = fragmentSources(ledger, bin, first, size, inBin);
    if (sources) best = { bin, sources, score };
  }
  return best;
}

/** The best bin that holds none of the experts. */
function bestEmpty(
  ledger: Ledger,
  first: number,
  size: number,
  inBin: ReadonlyMap<number, number>,
  roomy: () => readonly number[],
): Receiver | undefined {
  // If all copies of an expert are in whole sets, there is no fragment to take it from.
  for (let expert = first; expert < first + size; expert++) {
    if (ledger.holders[expert]!.every((holder) => inBin.get(holder)! >= size)) return undefined;
  }
  const layer = ledger.layerOf(first);
  for (const bin of roomy()) {
    if (inBin.has(bin) || ledger.room(bin, layer) < size) continue;
    const sources = fragmentSources(ledger, bin, first, size, inBin);
    if (sources) return { bin, sources };
  }
  return undefined;
}

/** Whether the bins with all of these experts are as many as the rarest expert's copies. Such bins hold the first expert too. */
function isWhole(ledger: Ledger, first: number, size: number): boolean {
  let copies = Number.POSITIVE_INFINITY;
  for (let expert = first; expert < first + size; expert++) copies = Math.min(copies, ledger.holders[expert]!.length);
  let whole = 0;
  for (const bin of ledger.holders[first]!) if (holdsAll(ledger, bin, first, size)) whole++;
  return whole >= copies;
}

function holdsAll(ledger: Ledger, bin: number, first: number, size: number): boolean {
  if (ledger.heldOf(bin, ledger.layerOf(first)) < size) return false;
  for (let expert = first; expert < first + size; expert++) if (!ledger.holders[expert]!.includes(bin)) return false;
  return true;
}

/** Finds for each expert that the bin lacks the smallest fragment to take it from; undefined if one has none. */
function fragmentSources(
  ledger: Ledger,
  bin: number,
  first: number,
  size: number,
  inBin: ReadonlyMap<number, number>,
): Map<ExpertIndex, number> | undefined {
  const sources = new Map<ExpertIndex, number>();
  for (let expert = first; expert < first + size; expert++) {
    const holders = ledger.holders[expert]!;
    if (holders.includes(bin)) continue;
    let source: number | undefined;
    for (const holder of holders) {
      if (inBin.get(holder)! >= size || !ledger.mayHold(bin, expert, holder)) continue;
      if (source === undefined || inBin.get(holder)! < inBin.get(source)!) source = holder;
    }
    if (source === undefined) return undefined;
    sources.set(expert, source);
  }
  return sources;
}

/** Moves a bin's part of a layer to a better bin, starting with the worst bins. Returns whether anything moved. */
function balance(ledger: Ledger, budget: MoveBudget): boolean {
  const { scores, receivers, givers } = candidates(ledger);
  if (givers.length === 0) return false;
  const held = ledger.held();
  let moved = false;
  for (const giver of givers) {
    // The best receiver is not clearly better even without the part.
    if (scores[giver]! <= BALANCE_MARGIN * ledger.score(receivers[0]!)) break;
    for (const { layer, experts } of partsOf(ledger, held[giver]!)) {
      const receiver = receiverFor(ledger, receivers, giver, layer, experts);
      if (receiver === undefined || !spend(budget, experts.length)) continue;
      for (const expert of experts) {
        ledger.remove(giver, expert);
        ledger.place(receiver, expert);
      }
      moved = true;
      resort(ledger, receivers, receiver);
    }
  }
  return moved;
}

/**
 * Finds receivers (bins with room, best first) and givers (bins that hold something, worst first), without those whose scores are
 * too close for a move to pay. Of thousands of bins few remain to be sorted.
 */
function candidates(ledger: Ledger): { scores: Float64Array; receivers: number[]; givers: number[] } {
  const scores = new Float64Array(ledger.numBins);
  let bestReceiver = Number.POSITIVE_INFINITY;
  let worstGiver = Number.NEGATIVE_INFINITY;
  for (let bin = 0; bin < ledger.numBins; bin++) {
    const score = ledger.score(bin);
    scores[bin] = score;
    if (ledger.free[bin]! > 0 && score < bestReceiver) bestReceiver = score;
    if (ledger.holdsAny(bin) && score > worstGiver) worstGiver = score;
  }
  const receivers: number[] = [];
  const givers: number[] = [];
  for (let bin = 0; bin < ledger.numBins; bin++) {
    if (ledger.free[bin]! > 0 && scores[bin]! < worstGiver / BALANCE_MARGIN) receivers.push(bin);
    if (ledger.holdsAny(bin) && scores[bin]! > BALANCE_MARGIN * bestReceiver) givers.push(bin);
  }
  if (receivers.length === 0) return { scores, receivers, givers: [] };
  receivers.sort((a, b) => scores[a]! - scores[b]! || a - b);
  givers.sort((a, b) => scores[b]! - scores[a]! || b - a);
  return { scores, receivers, givers };
}

/** A bin's experts by layer, the largest part first. */
function partsOf(ledger: Ledger, held: readonly ExpertIndex[]): { layer: number; experts: ExpertIndex[] }[] {
  const parts: { layer: number; experts: ExpertIndex[] }[] = [];
  for (const expert of held) {
    const layer = ledger.layerOf(expert);
    if (parts.at(-1)?.layer !== layer) parts.push({ layer, experts: [] });
    parts.at(-1)!.experts.push(expert);
  }
  return parts.sort((a, b) => b.experts.length - a.experts.length || a.layer - b.layer);
}

/** The best bin that can take the part and is still clearly better afterwards than the giver is now. */
function receiverFor(
  ledger: Ledger,
  receivers: readonly number[],
  giver: number,
  layer: number,
  experts: readonly ExpertIndex[],
): number | undefined {
  const load = experts.reduce((sum, expert) => sum + ledger.share(expert), 0);
  const limit = ledger.score(giver) / BALANCE_MARGIN;
  let looked = 0;
  let best: number | undefined;
  let bestScore = limit;
  for (const bin of receivers) {
    if (ledger.score(bin) >= bestScore || looked >= MAX_RECEIVERS) break;
    if (bin === giver || ledger.room(bin, layer) < experts.length) continue;
    looked++;
    const after = ledger.score(bin, load);
    if (after >= bestScore || !experts.every((expert) => ledger.mayHold(bin, expert, giver))) continue;
    best = bin;
    bestScore = after;
  }
  return best;
}

/** Moves a bin whose score has grown back to its place in the order. */
function resort(ledger: Ledger, receivers: number[], bin: number): void {
  let i = receivers.indexOf(bin);
  if (i === -1) return;
  const score = ledger.score(bin);
  for (; i + 1 < receivers.length && ledger.score(receivers[i + 1]!) < score; i++) receivers[i] = receivers[i + 1]!;
  receivers[i] = bin;
}
