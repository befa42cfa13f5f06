import type { EngineWatch } from '../engine-watch.ts';
import type { Rig } from '../rig.ts';
import { type HeldRow, median } from '../table.ts';
import { decodeStreams, setRoundTrip, type StreamsResult } from './streams.ts';

export const ROUND_TRIPS_MS = [0, 5, 20, 50] as const;
const TOKENS = 48;
const WITHIN = 1.15;

/** Measures one greedy stream without speculation at each round trip. */
export async function oneStreamRows(rig: Rig, watch: EngineWatch, repeats: number, laps: number): Promise<HeldRow[]> {
  const results = new Map<number, StreamsResult[]>(ROUND_TRIPS_MS.map((roundTripMs) => [roundTripMs, []]));
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const [roundTripMs, samples] of results) {
      await setRoundTrip(rig, roundTripMs);
      samples.push(await decodeStreams(rig, watch, { streams: 1, tokens: TOKENS }));
    }
  }
  const of = (roundTripMs: number, pick: (result: StreamsResult) => number): number =>
    median(results.get(roundTripMs)!.map(pick));
  const ownMs = of(0, ({ msPerToken }) => msPerToken);
  return ROUND_TRIPS_MS.map((roundTripMs) => {
    const measured = of(roundTripMs, ({ msPerToken }) => msPerToken);
    const [p50, p95] = [
      of(roundTripMs, ({ span }) => span.roundTrip.p50),
      of(roundTripMs, ({ span }) => span.roundTrip.p95),
    ];
    const floorMs = laps * p50 + ownMs;
    const parts = of(roundTripMs, ({ span }) => span.engineBusy * span.seconds * 1000) / TOKENS;
    return {
      figure: `one stream, ${roundTripMs} ms (${p50.toFixed(2)}, p95 ${p95.toFixed(2)}): ms per token`,
      measured: `${measured.toFixed(1)} (engine ${parts.toFixed(1)}, hedged ${hedged(results.get(roundTripMs)!)})`,
      reference:
        roundTripMs === 0
          ? 'its own time'
          : `≤ ${WITHIN} × ${floorMs.toFixed(1)} = ${(WITHIN * floorMs).toFixed(1)}: × ${(measured / floorMs).toFixed(3)}`,
      ...(roundTripMs > 0 && { met: measured <= WITHIN * floorMs }),
    };
  });
}

function hedged(results: readonly StreamsResult[]): string {
  const [hedges, laps] = [sum(results, 'hedges'), sum(results, 'laps')];
  return `${((100 * hedges) / laps).toFixed(1)} %`;
}

function sum(results: readonly StreamsResult[], name: 'hedges' | 'laps'): number {
  return results.reduce((total, { span }) => total + span[name], 0);
}
