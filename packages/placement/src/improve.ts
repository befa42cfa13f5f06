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
 */
export function improve(ledger: Ledger, budget: MoveBudget): void {
  gatherAll(ledger, budget);
  for (let pass = 0; pass < MAX_PASSES && balance(ledger, budget); pass++);
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

function gatherAll(ledger: Ledger, budget: MoveBudget): void {
  const { expertsPerLayer, groupsPerLayer } = ledger.model;
  for (const size of new Set([expertsPerLayer, expertsPerLayer / groupsPerLayer])) {
    let roomiest = ledger.free.reduce((most, free) => Math.max(most, free), 0);
    for (let first = 0; first < ledger.numExperts; first += size) {
      if (gather(ledger, first, size, roomiest, budget)) {
        roomiest = ledger.free.reduce((most, free) => Math.max(most, free), 0);
      }
    }
  }
}

/** One more whole copy of a layer or group out of its fragments, if some bin can take all of it. */
function gather(ledger: Ledger, first: number, size: number, roomiest: number, budget: MoveBudget): boolean {
  const inBin = new Map<number, number>();
  let copies = Number.POSITIVE_INFINITY;
  for (let expert = first; expert < first + size; expert++) {
    copies = Math.min(copies, ledger.holders[expert]!.length);
    for (const bin of ledger.holders[expert]!) inBin.set(bin, (inBin.get(bin) ?? 0) + 1);
  }
  const whole = [...inBin.values()].filter((count) => count === size).length;
  if (whole >= copies) return false;
  const layer = ledger.layerOf(first);
  const receivers = [...inBin.keys()].filter((bin) => inBin.get(bin)! < size);
  if (roomiest >= size)
    for (let bin = 0; bin < ledger.numBins; bin++) if (ledger.free[bin]! >= size) receivers.push(bin);
  let best: { bin: number; sources: Map<ExpertIndex, number>; score: number } | undefined;
  for (const bin of receivers) {
    const lacking = size - (inBin.get(bin) ?? 0);
    if (ledger.room(bin, layer) < lacking || (best !== undefined && lacking > best.sources.size)) continue;
    const score = ledger.score(bin);
    if (best !== undefined && lacking === best.sources.size && score >= best.score) continue;
    const sources = fragmentSources(ledger, bin, first, size, inBin);
    if (sources) best = { bin, sources, score };
  }
  if (best === undefined || !spend(budget, best.sources.size)) return false;
  for (const [expert, source] of best.sources) {
    ledger.remove(source, expert);
    ledger.place(best.bin, expert);
  }
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
  const scores = Float64Array.from({ length: ledger.numBins }, (_, bin) => ledger.score(bin));
  const order = Array.from(scores.keys()).sort((a, b) => scores[a]! - scores[b]! || a - b);
  const receivers = order.filter((bin) => ledger.free[bin]! > 0);
  if (receivers.length === 0) return false;
  let moved = false;
  for (let i = order.length - 1; i >= 0; i--) {
    const giver = order[i]!;
    if (scores[giver]! <= BALANCE_MARGIN * scores[receivers[0]!]!) break;
    const parts = partsOf(ledger, giver, heldLayers(ledger, giver));
    for (const { layer, experts } of parts) {
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

function heldLayers(ledger: Ledger, bin: number): number[] {
  return Array.from({ length: ledger.numLayers }, (_, layer) => layer).filter((layer) => ledger.heldOf(bin, layer) > 0);
}

/** The largest first. */
function partsOf(ledger: Ledger, bin: number, layers: readonly number[]): { layer: number; experts: ExpertIndex[] }[] {
  const { expertsPerLayer } = ledger.model;
  return layers
    .map((layer) => {
      const experts: ExpertIndex[] = [];
      for (let expert = layer * expertsPerLayer; expert < (layer + 1) * expertsPerLayer; expert++) {
        if (ledger.holders[expert]!.includes(bin)) experts.push(expert);
      }
      return { layer, experts };
    })
    .sort((a, b) => b.experts.length - a.experts.length || a.layer - b.layer);
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
