import type { Coordinator } from '../../coordinator/src/index.ts';
import { DonorBrowser } from '../../tools/browser/donor-tabs.ts';
import type { SimModel } from '../../tools/simulate/models.ts';
import { type KnownTab, predictLaps } from '../../tools/simulate/predict.ts';
import { measureStill } from '../../tools/simulate/still.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { type Row } from './table.ts';

/** Two MiB hold 24 of the default model's experts: eight tabs hold all of them once, none a whole layer. */
const SMALL_PLEDGE_MIB = 2;
export const REAL_TABS = 8;
/** What is fed in was measured with so many streams on some of the prompts; what is compared, with these and others on the rest. */
const CALIBRATION = { streams: [1, 4], prompts: 4 } as const;
const COMPARED_STREAMS = [1, 2, 4] as const;
/** Times on a machine that others use waver: this much either way counts as agreement. */
const AGREEMENT = 1.5;

/** The simulator's word on a placement and on its laps, and what real tabs in that placement do. */
export async function realRows(say: (line: string) => void): Promise<Row[]> {
  const coordinator = await startTinyCoordinator({ replicas: 1, maxBatch: 16 });
  const browser = await DonorBrowser.launch(say);
  try {
    await Promise.all(Array.from({ length: REAL_TABS }, () => browser.open(coordinator.url, SMALL_PLEDGE_MIB)));
    const ready = (): boolean => coordinator.swarm.peers.length === REAL_TABS && covered(coordinator);
    await until('the tabs to serve', ready, 240_000);
    const [few, many] = [
      await measure(coordinator, GOLDEN.slice(0, CALIBRATION.prompts), CALIBRATION.streams[0]),
      await measure(coordinator, GOLDEN.slice(0, CALIBRATION.prompts), CALIBRATION.streams[1]),
    ];
    const rows = placementRows(coordinator, few);
    const tabs = knownTabs(coordinator, few, many);
    for (const streams of COMPARED_STREAMS) {
      const measured = await measure(coordinator, GOLDEN.slice(CALIBRATION.prompts), streams);
      // Attention, gate and audits are not what is predicted: their time is taken as it was.
      const { coordinatorLayerMs } = measured;
      const options = { streams, passes: 200, coordinatorLayerMs, seed: 1 };
      rows.push(...lapRows(streams, measured, await predictLaps(simModel(coordinator), tabs, options)));
    }
    return rows;
  } finally {
    await browser.close();
    await coordinator.close();
  }
}

interface Measured {
  lapMs: number;
  tokensPerSecond: number;
  /** Time between laps, for each of them. */
  coordinatorLayerMs: number;
  tabs: MeasuredTab[];
  tabRows: number;
  tabRowParts: number;
  frameBytes: number;
}

/** One tab's laps: medians, and (row, expert) pairs of one on average. */
interface MeasuredTab {
  wireMs: number;
  computeMs: number;
  assignmentsPerLap: number;
}

/** Answers to these prompts, so many at a time. */
async function measure(
  coordinator: Coordinator,
  prompts: readonly { prompt_ids: number[] }[],
  streams: number,
): Promise<Measured> {
  const { dispatcher, swarm } = coordinator;
  const before = swarm.peers.map(({ laps }) => ({ assignments: laps.assignments, answered: laps.lapsAnswered }));
  for (const { laps } of swarm.peers) for (const window of [laps.wireMs, laps.computeMs]) window.clear();
  const { laps, tabRows, tabRowParts, frameBytes } = dispatcher.figures;
  dispatcher.figures.forgetTimings();
  let tokens = 0;
  const startedMs = performance.now();
  const queue = [...prompts];
  const stream = async (): Promise<void> => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { ids } = await answer(coordinator, next.prompt_ids);
      // In a statement of its own: `tokens += await` would read the sum before other streams have added theirs.
      tokens += ids.length;
    }
  };
  await Promise.all(Array.from({ length: streams }, stream));
  const tookMs = performance.now() - startedMs;
  const lapMs = dispatcher.figures.lapMs.quantile(0.5)!;
  return {
    lapMs,
    tokensPerSecond: (1000 * tokens) / tookMs,
    coordinatorLayerMs: Math.max(0, tookMs / (dispatcher.figures.laps - laps) - lapMs),
    tabs: swarm.peers.map(({ laps }, i) => ({
      // The wire's part is the round trip of a lap, the tab's worker and both event loops included.
      wireMs: laps.wireMs.quantile(0.5)!,
      computeMs: laps.computeMs.quantile(0.5)!,
      assignmentsPerLap: (laps.assignments - before[i]!.assignments) / (laps.lapsAnswered - before[i]!.answered),
    })),
    tabRows: dispatcher.figures.tabRows - tabRows,
    tabRowParts: dispatcher.figures.tabRowParts - tabRowParts,
    frameBytes: dispatcher.figures.frameBytes - frameBytes,
  };
}

/** What a lap takes in any case, and for each (row, expert) pair, from laps of two sizes. */
function knownTabs({ swarm }: Coordinator, few: Measured, many: Measured): KnownTab[] {
  return swarm.peers.map(({ peerId }, i) => {
    const [small, large] = [few.tabs[i]!, many.tabs[i]!];
    const compute = line([small.assignmentsPerLap, small.computeMs], [large.assignmentsPerLap, large.computeMs]);
    return {
      rttMs: small.wireMs,
      lapOverheadMs: compute.fixed,
      assignmentsPerSecond: 1000 / compute.perUnit,
      held: swarm.plan.held.get(peerId)!,
    };
  });
}

/** Through two points, but nowhere negative and never falling. */
function line([x0, y0]: [number, number], [x1, y1]: [number, number]): { fixed: number; perUnit: number } {
  const perUnit = x1 > x0 ? Math.min(y0 / x0, Math.max(0, (y1 - y0) / (x1 - x0))) : 0;
  return { fixed: y0 - perUnit * x0, perUnit };
}

function simModel({ config, swarm }: Coordinator): SimModel {
  return {
    name: 'tiny-stories',
    numLayers: swarm.model.layers.length,
    expertsPerLayer: config.nRoutedExperts,
    topK: config.numExpertsPerTok,
    nGroup: config.gate.nGroup,
    topkGroup: config.gate.topkGroup,
    hiddenSize: config.hiddenSize,
    moeIntermediateSize: config.moeIntermediateSize,
  };
}

function placementRows(coordinator: Coordinator, measured: Measured): Row[] {
  const model = simModel(coordinator);
  const predicted = measureStill(model, coordinator.swarm.plan, { tokens: 2000, seed: 1 });
  const bytes = (measured.frameBytes / measured.tabRows) * model.numLayers;
  return [
    {
      figure: `${REAL_TABS} real tabs, default model: peers per token-layer`,
      measured: (measured.tabRowParts / measured.tabRows).toFixed(3),
      reference: `simulator ${predicted.distinctPeers.toFixed(3)} (uniform gate)`,
    },
    {
      figure: '  bytes per token',
      measured: bytes.toFixed(0),
      reference: `simulator ${predicted.bytesPerToken.toFixed(0)}, implied ${predicted.impliedBytesPerToken.toFixed(0)}`,
    },
  ];
}

function lapRows(
  streams: number,
  measured: { lapMs: number; tokensPerSecond: number },
  predicted: { lapMs: number; tokensPerSecond: number },
): Row[] {
  const held = (figure: string, unit: string, is: number, said: number): Row => ({
    figure,
    measured: `${is.toFixed(1)}${unit}`,
    reference: `simulator ${said.toFixed(1)}${unit}: × ${(is / said).toFixed(2)}, within × ${AGREEMENT} either way`,
  });
  return [
    held(
      `  median lap, ${streams === 1 ? 'one stream' : `${streams} streams`}`,
      ' ms',
      measured.lapMs,
      predicted.lapMs,
    ),
    held('  tokens/s, the coordinator’s own time given', '', measured.tokensPerSecond, predicted.tokensPerSecond),
  ];
}
