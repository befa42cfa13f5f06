import type { LapTab } from './lap-tabs.ts';
import { formatTable, median } from './table.ts';

const IN_FLIGHT = [1, 2, 4, 8, 16];
const LAPS = 200;
const ROUNDS = 5;

export interface Merging {
  inFlight: number;
  /** Milliseconds per lap (wall time divided by laps): medians of rounds that alternate. */
  together: number;
  oneByOne: number;
  /** Laps per piece of work when waiting laps are merged. */
  lapsPerPiece: number;
}

/** Measures the gain from merging the laps that wait in a tab into one GPU submission. `ask` sends one lap. */
export async function measureMerging(tab: LapTab, ask: () => Promise<unknown>): Promise<Merging[]> {
  const results: Merging[] = [];
  for (const inFlight of IN_FLIGHT) {
    const ms = { together: [] as number[], oneByOne: [] as number[] };
    let pieces: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      for (const how of ['together', 'oneByOne'] as const) {
        await tab.ask({ type: 'together', on: how === 'together' });
        await tab.ask({ type: 'watch' });
        const startedMs = performance.now();
        let left = LAPS;
        const microBatch = async (): Promise<void> => {
          while (left-- > 0) await ask();
        };
        await Promise.all(Array.from({ length: inFlight }, microBatch));
        ms[how].push((performance.now() - startedMs) / LAPS);
        const seen = await tab.ask({ type: 'moments' });
        if (how === 'together' && seen.type === 'moments') pieces = seen.pieces;
      }
    }
    const lapsPerPiece = pieces.reduce((sum, laps) => sum + laps, 0) / pieces.length;
    results.push({ inFlight, together: median(ms.together), oneByOne: median(ms.oneByOne), lapsPerPiece });
  }
  await tab.ask({ type: 'together', on: true });
  return results;
}

export function mergingTable(results: readonly Merging[]): string {
  const rows = results.map(({ inFlight, together, oneByOne, lapsPerPiece }) => [
    `${inFlight} in flight`,
    together.toFixed(3),
    oneByOne.toFixed(3),
    (oneByOne / together).toFixed(2),
    lapsPerPiece.toFixed(1),
  ]);
  return formatTable([['ms per lap, one tab', 'together', 'one by one', 'ratio', 'laps of a submit'], ...rows]);
}
