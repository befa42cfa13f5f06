// A placement experiment over the simulator: node --import tsx examples/placement.ts [seed]
// Three placements of one made-up model on the same made-up tabs: how many tabs a token needs, and what it sends.
import { createRng } from '@shoal/model';
import { type PlacementPlan, planPlacement } from '@shoal/placement';
import { formatTable } from '../test/bench/table.ts';
import { hashPlacement, roundRobinPlacement } from '../tools/simulate/baselines.ts';
import { drawDonor, placementPeerOf } from '../tools/simulate/donors.ts';
import { placementModel, type SimModel, weightsPerExpert } from '../tools/simulate/models.ts';
import { measureStill } from '../tools/simulate/still.ts';

const seed = Number(process.argv[2] ?? 1);
const TABS = 12;

/** A made-up model: 40 MoE layers, of whose 64 experts each token uses 6. */
const model: SimModel = {
  name: 'made-up',
  numLayers: 40,
  expertsPerLayer: 64,
  topK: 6,
  nGroup: 1,
  topkGroup: 1,
  hiddenSize: 2048,
  moeIntermediateSize: 1024,
};

// What each tab lends is drawn from the simulator's distributions (tools/simulate/donors.ts).
const rng = createRng(seed);
const donors = Array.from({ length: TABS }, (_, i) => drawDonor(i, rng, weightsPerExpert(model)));
const peers = donors.map(placementPeerOf);
const shape = placementModel(model);

const plans: Record<string, PlacementPlan> = {
  Shoal: planPlacement(shape, peers, { replicas: 1 }),
  'round robin': roundRobinPlacement(shape, peers),
  'hash of the expert': hashPlacement(shape, peers),
};

const rows: string[][] = [['placement', 'tabs per layer', 'kB per token', 'fullest tab']];
for (const [name, plan] of Object.entries(plans)) {
  // What the dispatcher's own cover makes of the placement while no tab comes or goes.
  const still = measureStill(model, plan, { tokens: 200, seed });
  if (still.uncoveredShare > 0) throw new Error(`${name} leaves experts without a tab: lend more memory, or add tabs.`);
  const fill = peers.map(({ peerId, pledgeBytes }) => (plan.held.get(peerId)!.length * shape.shardBytes) / pledgeBytes);
  rows.push([
    name,
    still.distinctPeers.toFixed(2),
    (still.bytesPerToken / 1000).toFixed(0),
    `${(100 * Math.max(...fill)).toFixed(0)} %`,
  ]);
}

const gib = peers.reduce((sum, { pledgeBytes }) => sum + pledgeBytes, 0) / 2 ** 30;
console.log(`${TABS} tabs that lend ${gib} GiB in all, seed ${seed}\n\n${formatTable(rows)}`);
