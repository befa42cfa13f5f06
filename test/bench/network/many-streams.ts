import type { EngineWatch } from '../engine-watch.ts';
import type { Rig } from '../rig.ts';
import type { SpanFigures } from '../span.ts';
import { type HeldRow, median } from '../table.ts';
import { decodeStreams, setRoundTrip, type StreamsResult } from './streams.ts';

const ROUND_TRIP_MS = 20;
const STREAMS = [1, 16, 64] as const;
const TOKENS = 48;
/** Required multiple of one stream's tokens a second, by number of streams. */
const AT_LEAST: Readonly<Record<number, number>> = { 16: 10, 64: 25 };
/** An engine that is busy for this share of the time has no room for more streams. */
const ENGINE_BOUND = 0.9;
const WIRE_BYTES_WITHIN = 1.08;

/** Measures 16 and 64 streams against one, and the bytes that they send. */
export async function manyStreamsRows(rig: Rig, watch: EngineWatch, repeats: number): Promise<HeldRow[]> {
  const results = new Map<number, StreamsResult[]>(STREAMS.map((streams) => [streams, []]));
  await setRoundTrip(rig, ROUND_TRIP_MS);
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const [streams, samples] of results) {
      samples.push(await decodeStreams(rig, watch, { streams, tokens: TOKENS, temperature: 0.8 }));
    }
  }
  const rate = (streams: number): number => median(results.get(streams)!.map(({ tokensPerS }) => tokensPerS));
  const rows: HeldRow[] = [];
  for (const [streams, samples] of results) {
    const times = rate(streams) / rate(1);
    const engineBusy = median(samples.map(({ span }) => span.engineBusy));
    const atLeast = AT_LEAST[streams];
    rows.push({
      figure: `${streams === 1 ? 'one stream' : `${streams} streams`} at ${ROUND_TRIP_MS} ms: tokens/s`,
      measured: rate(streams).toFixed(1),
      reference:
        atLeast === undefined
          ? ''
          : `≥ ${atLeast} × one stream: × ${times.toFixed(1)}${streams === 64 ? `, or engine busy (${percent(engineBusy)})` : ''}`,
      ...(atLeast !== undefined && { met: times >= atLeast || (streams === 64 && engineBusy >= ENGINE_BOUND) }),
    });
    const middle = samples[Math.floor(samples.length / 2)]!.span;
    rows.push({
      figure: '  busy: engine, main thread, each tab’s kernels; cores',
      measured: shares(middle),
      reference: '',
    });
    const bytes = median(samples.map(({ span }) => span.wireBytes / span.floorBytes));
    rows.push({
      figure: '  bytes on the wire to the floor of the peers used',
      measured: `× ${bytes.toFixed(3)}`,
      reference: `≤ × ${WIRE_BYTES_WITHIN}`,
      met: bytes <= WIRE_BYTES_WITHIN,
    });
  }
  return rows;
}

function shares({ engineBusy, mainThread, cores, tabs }: SpanFigures): string {
  const kernels = tabs.map((tab) => percent(tab.kernels)).join(' ');
  const tabCores = tabs.map(({ cpu }) => cpu.toFixed(2)).join(' ');
  return `${percent(engineBusy)}, ${percent(mainThread)}, ${kernels}; ${cores.toFixed(2)} + ${tabCores}`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}
