import type { Ledger } from './ledger.ts';
import type { ExpertIndex } from './types.ts';

/**
 * A layer's experts move to another peer only if it is still this much less wanted for where they are: measured loads and
 * round trips waver, and every move is a download.
 */
const BALANCE_MARGIN = 1.25;
/** Receivers looked at for each part that might move: the best ones, beyond which the gain is smaller anyway. */
const MAX_RECEIVERS = 16;
/** Passes over all peers; each is a finite number of improving moves, and further ones can wait for the next plan. */
const MAX_PASSES = 8;

/** Experts that may still be moved, and whether some were left where they are for want of it. */
export interface MoveBudget {
  experts: number;
  moved: number;
  deferred: boolean;
}

/**
 * Moves of what is placed already: fragments of a layer or group are gathered where a room for all of it has opened, and
 * layers go from the busiest peers to the idlest. Each strictly improves, so that a plan that was improved stays as it is.
 * Returns whether anything moved.
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
      // Most are whole: the bins with room are looked for when the first that is not needs one.
      if (!gather(ledger, first, size, () => (roomy ??= binsWithRoom(ledger, size)), budget)) continue;
      gathered = true;
      roomy = undefined;
    }
  }
  return gathered;
}

/** Bins that could take so many experts, the most wanted first. */
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

/** One more whole copy of a layer or group out of its fragments, if some bin can take all of it. */
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
  /** The bin from which each expert that it lacks would come. */
  sources: Map<ExpertIndex, number>;
}

/** Of the bins with some of the experts already, that which lacks the fewest. */
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

/** Of the bins with none of the experts, the most wanted. */
function bestEmpty(
  ledger: Ledger,
  first: number,
  size: number,
  inBin: ReadonlyMap<number, number>,
  roomy: () => readonly number[],
): Receiver | undefined {
  // Where all copies of an expert are in whole sets, no bin helps.
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

/**
 * Whether there are as many bins with all of these experts as the rarest of them has copies. Bins with all of them hold the
 * first, so that nobody else needs to be looked at.
 */
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

/** For each expert that the bin lacks, the smallest fragment to take it from; undefined where there is none for some. */
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

/** From the least wanted bins on, give all that one holds of a layer to a better bin. Whether anything moved. */
function balance(ledger: Ledger, budget: MoveBudget): boolean {
  const { scores, receivers, givers } = candidates(ledger);
  if (givers.length === 0) return false;
  const held = ledger.held();
  let moved = false;
  for (const giver of givers) {
    // Not even with nothing more to do would the best receiver be clearly better off.
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
 * Bins with room, the most wanted first, and bins that hold something, the least wanted first; without those that are too
 * near the other end for a move to pay. Of thousands of bins few are left, and only those are put in order.
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

/** The best bin that can take the part and is then still clearly better off than the giver is now. */
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

/** Back into order after its score has grown. */
function resort(ledger: Ledger, receivers: number[], bin: number): void {
  let i = receivers.indexOf(bin);
  if (i === -1) return;
  const score = ledger.score(bin);
  for (; i + 1 < receivers.length && ledger.score(receivers[i + 1]!) < score; i++) receivers[i] = receivers[i + 1]!;
  receivers[i] = bin;
}
