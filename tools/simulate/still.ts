import { createRng } from '@shoal/model';
import { coverRows, type PlacementPlan } from '@shoal/placement';
import { GateChoices, type Popularity } from './gate-choices.ts';
import type { SimModel } from './models.ts';
import { impliedBytes, lapFrameBytes } from './wire-bytes.ts';

export interface StillResult {
  /** Mean number of peers per token and layer. */
  distinctPeers: number;
  bytesPerToken: number;
  /** Minimum for the distinct peers: a row out and back for each. */
  impliedBytesPerToken: number;
  /** Share of assignments that no peer can take. */
  uncoveredShare: number;
}

export interface StillOptions {
  tokens: number;
  seed: number;
  popularity?: Popularity;
  /** Tokens that share a lap. */
  batch?: number;
}

/** Measures a placement without churn: random tokens, with each MoE layer covered as the dispatcher does it. */
export function measureStill(model: SimModel, plan: PlacementPlan, options: StillOptions): StillResult {
  const { tokens, seed, popularity = 'uniform', batch = 1 } = options;
  const choices = new GateChoices(model, popularity, createRng(seed));
  const holders = holdersOf(model, plan);
  let rowParts = 0;
  let bytes = 0;
  let uncovered = 0;
  for (let done = 0; done < tokens; done += batch) {
    const numRows = Math.min(batch, tokens - done);
    for (let layer = 0; layer < model.numLayers; layer++) {
      const experts = Array.from({ length: numRows }, () => choices.draw(layer)).flat();
      const rows = experts.map((_, a) => Math.floor(a / model.topK));
      const chosen = coverRows(experts, rows, {
        holders: (expert) => holders[layer * model.expertsPerLayer + expert]!,
        usualMs: () => 0,
      });
      for (const [peer, part] of partsOf(chosen, rows)) {
        if (peer === -1) {
          uncovered += part.assignments;
          continue;
        }
        const frames = lapFrameBytes(model, part.rows, part.assignments);
        rowParts += part.rows;
        bytes += frames.dispatchBytes + frames.combineBytes;
      }
    }
  }
  return {
    distinctPeers: rowParts / tokens / model.numLayers,
    bytesPerToken: bytes / tokens,
    impliedBytesPerToken: impliedBytes(model.hiddenSize, rowParts) / tokens,
    uncoveredShare: uncovered / (tokens * model.numLayers * model.topK),
  };
}

/** Distinct rows and assignments of a lap, by peer. */
export function partsOf(
  chosen: Int32Array,
  rows: readonly number[],
): Map<number, { rows: number; assignments: number; lastRow: number }> {
  const parts = new Map<number, { rows: number; assignments: number; lastRow: number }>();
  for (const [a, peer] of chosen.entries()) {
    let part = parts.get(peer);
    if (part === undefined) parts.set(peer, (part = { rows: 0, assignments: 0, lastRow: -1 }));
    part.assignments++;
    if (rows[a] !== part.lastRow) part.rows++;
    part.lastRow = rows[a]!;
  }
  return parts;
}

/** [numLayers × expertsPerLayer] indices of the peers that hold each expert. */
function holdersOf(model: SimModel, plan: PlacementPlan): number[][] {
  const holders: number[][] = Array.from({ length: model.numLayers * model.expertsPerLayer }, () => []);
  for (const [peer, held] of [...plan.held.values()].entries()) for (const expert of held) holders[expert]!.push(peer);
  return holders;
}
