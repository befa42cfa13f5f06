import { createRng, encodeF16, normalDraw, type WorkItem, uniformWorkItem } from '@shoal/model';
import { LapTabs, type LapTab } from './lap-tabs.ts';
import { RELAYED_FLAGS } from './relayed-peer.ts';
import { median } from './table.ts';
import { SlowNetwork } from './udp-relay.ts';

/** DeepSeek-V3's hidden size, with 14 KiB per f16 row; experts narrow enough for the wire to dominate a lap here. */
const SHAPE = { hiddenSize: 7168, moeIntermediateSize: 32, quant: 'q8' } as const;
const EXPERTS = 2;
const ROWS = [1, 4];
const ROUND_TRIPS_MS = [20, 0];
const LAPS = 15;
const PAUSE_MS = 20;

export interface StripedLaps {
  rows: number;
  roundTripMs: number;
  count: number;
  /** Median milliseconds per lap, by number of connections. */
  ms: number[];
}

/** Measures laps of production code, from the coordinator's lap client to a tab's kernels and back, one by one. */
export async function measureStripedLaps(connections: readonly number[]): Promise<StripedLaps[]> {
  const tabs = await LapTabs.launch(RELAYED_FLAGS);
  const networks: SlowNetwork[] = [];
  const results: StripedLaps[] = [];
  try {
    for (const roundTripMs of ROUND_TRIPS_MS) {
      const opened: LapTab[] = [];
      for (const lapConnections of connections) {
        const network = new SlowNetwork(roundTripMs);
        networks.push(network);
        opened.push(await tabs.open({ shape: SHAPE, layers: 1, experts: EXPERTS }, { lapConnections, network }));
      }
      for (const rows of ROWS) results.push({ rows, roundTripMs, count: LAPS, ms: await measure(opened, rows) });
    }
  } finally {
    await tabs.close();
    for (const network of networks) network.close();
  }
  return results;
}

async function measure(tabs: readonly LapTab[], rows: number): Promise<number[]> {
  const lap = lapOf(rows);
  const samples = tabs.map(() => [] as number[]);
  for (let round = -3; round < LAPS; round++) {
    for (const [i, tab] of tabs.entries()) {
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      const startedMs = performance.now();
      await tab.laps.ask(lap);
      if (round >= 0) samples[i]!.push(performance.now() - startedMs);
    }
  }
  return samples.map(median);
}

function lapOf(numRows: number): WorkItem {
  const rng = createRng(1);
  return uniformWorkItem({
    layer: 0,
    rows: encodeF16(Float32Array.from({ length: numRows * SHAPE.hiddenSize }, () => normalDraw(rng))),
    numRows,
    experts: Uint16Array.from({ length: numRows }, (_, row) => row % EXPERTS),
    weights: new Float32Array(numRows).fill(0.25),
  });
}
