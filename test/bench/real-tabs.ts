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

/** 2 MiB hold 24 of the default model's experts: eight tabs hold all of them once, none a whole layer. */
const SMALL_PLEDGE_MIB = 2;
export const REAL_TABS = 8;
/** Inputs are measured with these streams on the first prompts; predictions are compared on the others. */
const CALIBRATION = { streams: [1, 4], prompts: 4 } as const;
const COMPARED_STREAMS = [1, 2, 4] as const;
/** Times vary on a shared machine: a factor up to this either way counts as agreement. */
const AGREEMENT = 1.5;

/** Compares the simulator's prediction for a placement and its laps with real tabs in that placement. */
export async function realRows(): Promise<Row[]> {
  const coordinator = await startTinyCoordinator({ replicas: 1, maxBatch: 16 });
  const browser = await DonorBrowser.launch();
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
      // Attention, gate and audits are not predicted: their measured time is used.
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
  /** Time between laps, per lap. */
  coordinatorLayerMs: number;
  tabs: MeasuredTab[];
  tabRows: number;
  tabRowParts: number;
  frameBytes: number;
}

/** Medians of one tab's laps, and their average number of assignments. */
interface MeasuredTab {
  wireMs: number;
  computeMs: number;
  assignmentsPerLap: number;
}

/** Measures answers to these prompts, `streams` at a time. */
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
      // In a separate statement: `tokens += await` would read the sum before other streams have added theirs.
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
      // The wire's share is a lap's round trip, including the tab's worker and both event loops.
      wireMs: laps.wireMs.quantile(0.5)!,
      computeMs: laps.computeMs.quantile(0.5)!,
      assignmentsPerLap: (laps.assignments - before[i]!.assignments) / (laps.lapsAnswered - before[i]!.answered),
    })),
    tabRows: dispatcher.figures.tabRows - tabRows,
    tabRowParts: dispatcher.figures.tabRowParts - tabRowParts,
    frameBytes: dispatcher.figures.frameBytes - frameBytes,
  };
}

/** Derives a lap's fixed time and its time per assignment from laps of two sizes. */
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

/** The line through two points, never negative and never falling. */
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
