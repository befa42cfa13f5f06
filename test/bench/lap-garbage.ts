import { createRng } from '@shoal/model';
import { type LapDims, LapTabs, type LapTab, oneRowLap } from './lap-tabs.ts';
import { formatTable } from './table.ts';
import { WorkerInspector } from './worker-inspector.ts';

/** V2-Lite's width, so that one row's array stands out; the experts are narrow because nothing is timed. */
const SHAPE = { hiddenSize: 2048, moeIntermediateSize: 64, quant: 'q8' } as const;
const DIMS: LapDims = { hiddenSize: SHAPE.hiddenSize, layers: 2, experts: 8, topK: 2 };
const ROW_BYTES = 2 * SHAPE.hiddenSize;
const LAPS = 10_000;
const WARM_UP_LAPS = 500;
const IN_FLIGHT = 4;

/** Bounds per lap. A single f16 array of one row would exceed each of them. */
const GARBAGE_BOUNDS = {
  /** Bytes of typed arrays that our code makes. */
  arrays: ROW_BYTES / 2,
  /** Bytes still alive afterwards. */
  kept: 100,
} as const;

export interface LapGarbage {
  laps: number;
  /** Bytes per lap. */
  arrays: number;
  objects: number;
  kept: number;
}

/** Formats the measured garbage as a table. */
export function garbageTable(garbage: LapGarbage): string {
  const rows = [
    ['bytes per lap', 'measured', 'at most'],
    ['typed arrays made', garbage.arrays.toFixed(0), String(GARBAGE_BOUNDS.arrays)],
    ['objects made (heap profiler)', garbage.objects.toFixed(0), '–'],
    ['alive afterwards', garbage.kept.toFixed(1), String(GARBAGE_BOUNDS.kept)],
  ];
  return `${formatTable(rows)}\n\n${garbage.laps} laps of one row of ${ROW_BYTES} B, ${IN_FLIGHT} in flight, one tab.\n`;
}

/** Throws if the garbage exceeds the bounds. */
export function requireLittle(garbage: LapGarbage): void {
  for (const key of ['arrays', 'kept'] as const) {
    if (garbage[key] <= GARBAGE_BOUNDS[key]) continue;
    throw new Error(`a lap leaves ${garbage[key].toFixed(0)} B (${key}), more than ${GARBAGE_BOUNDS[key]}`);
  }
}

/** Measures what 10,000 laps leave behind in a real tab's worker. */
export async function measureGarbage(): Promise<LapGarbage> {
  const tabs = await LapTabs.launch();
  try {
    const tab = await tabs.open({ shape: SHAPE, layers: DIMS.layers, experts: DIMS.experts });
    const inspector = await WorkerInspector.attach(tab.page);
    await run(tab, WARM_UP_LAPS);
    await tab.ask({ type: 'quiet' });
    const before = await inspector.liveBytes();
    const objects = await inspector.allocatedBytes(() => run(tab, LAPS));
    const kept = (await inspector.liveBytes()) - before;
    await tab.ask({ type: 'count-arrays' });
    await tab.ask({ type: 'watch' });
    await tab.ask({ type: 'quiet' });
    await run(tab, WARM_UP_LAPS);
    const counted = await tab.ask({ type: 'moments' });
    if (counted.type !== 'moments') throw new Error(`the tab answered ${counted.type}`);
    const arrays = counted.arrayBytes / WARM_UP_LAPS;
    return { laps: LAPS, arrays, objects: objects / LAPS, kept: kept / LAPS };
  } finally {
    await tabs.close();
  }
}

async function run({ laps }: LapTab, count: number): Promise<void> {
  const rng = createRng(9);
  const requests = Array.from({ length: 16 }, () => oneRowLap(rng, DIMS));
  let next = 0;
  const microBatch = async (): Promise<void> => {
    while (next < count) await laps.ask(requests[next++ % requests.length]!);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, microBatch));
}
