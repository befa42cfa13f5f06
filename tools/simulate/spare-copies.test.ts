import { createRng } from '@shoal/model';
import { coverRows, type PlacementPlan, planPlacement } from '@shoal/placement';
import { describe, expect, it } from 'vitest';
import { justEnoughTabs } from './baseline-rows.ts';
import { GateChoices } from './gate-choices.ts';
import { equalTabs, placementModel, type SimModel, SIM_MODELS } from './models.ts';
import { partsOf } from './still.ts';

const TOKENS_OF_LATE = 500;
const LAPS = 40;
const ROWS_PER_LAP = 8;

/** [numLayers × expertsPerLayer] recent rows. */
function loadOf(model: SimModel, gate: GateChoices): Float64Array {
  const load = new Float64Array(model.numLayers * model.expertsPerLayer);
  for (let token = 0; token < TOKENS_OF_LATE; token++) {
    for (let layer = 0; layer < model.numLayers; layer++) {
      for (const expert of gate.draw(layer)) load[layer * model.expertsPerLayer + expert]!++;
    }
  }
  return load;
}

/** Covers laps of eight rows as the dispatcher does, with peers of equal speed in random order. */
function lapsOver(model: SimModel, plan: PlacementPlan, gate: GateChoices) {
  const rng = createRng(7);
  const held = [...plan.held.values()].map((experts) => new Set(experts));
  const holders = Array.from({ length: model.numLayers * model.expertsPerLayer }, (_, expert) =>
    held.flatMap((experts, peer) => (experts.has(expert) ? [peer] : [])),
  );
  let [rowParts, busiest] = [0, 0];
  for (let lap = 0; lap < LAPS; lap++) {
    for (let layer = 0; layer < model.numLayers; layer++) {
      const experts = Array.from({ length: ROWS_PER_LAP }, () => gate.draw(layer)).flat();
      const rows = experts.map((_, a) => Math.floor(a / model.topK));
      const turn = held.map(() => rng());
      const chosen = coverRows(experts, rows, {
        holders: (expert) => holders[layer * model.expertsPerLayer + expert]!,
        usualMs: () => 0,
        preference: (peer) => turn[peer]!,
      });
      const parts = [...partsOf(chosen, rows).values()];
      rowParts += parts.reduce((sum, part) => sum + part.rows, 0);
      busiest += Math.max(...parts.map(({ assignments }) => assignments));
    }
  }
  const laps = LAPS * model.numLayers;
  return {
    copies: held.reduce((sum, experts) => sum + experts.size, 0),
    peersPerRow: rowParts / laps / ROWS_PER_LAP,
    /** Assignments of the peer that a lap waits for. */
    busiestPairs: busiest / laps,
  };
}

/**
 * Shows why the coordinator leaves spare memory empty (docs/OPERATIONS.md): a row goes to the fewest possible tabs, and
 * an extra copy lies on a tab without the rest of its layer. Fails if the cover ever benefits from such copies.
 */
describe('a third copy of the hottest experts, where two of each leave a fifth of the memory free', () => {
  it.each(['v2-lite', 'qwen3', 'olmoe'])('is a large download that spares a lap of %s nothing', (name) => {
    const model = SIM_MODELS[name]!;
    const tabs = equalTabs(Math.ceil(2.5 * justEnoughTabs(model)));
    const load = loadOf(model, new GateChoices(model, 'zipf', createRng(1)));
    const measure = (maxReplicas: number) => {
      const plan = planPlacement(placementModel(model), tabs, { replicas: 2, maxReplicas, load });
      return lapsOver(model, plan, new GateChoices(model, 'zipf', createRng(1)));
    };
    const [without, filled] = [measure(2), measure(3)];
    expect(filled.copies).toBeGreaterThan(1.2 * without.copies);
    expect(filled.peersPerRow).toBeGreaterThan(0.99 * without.peersPerRow);
    expect(filled.busiestPairs).toBeGreaterThan(0.97 * without.busiestPairs);
  });
});
