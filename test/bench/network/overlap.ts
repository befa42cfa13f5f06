import { moeLayers } from '@shoal/model';
import type { Config } from '../../../coordinator/src/index.ts';
import { EngineWatch } from '../engine-watch.ts';
import { Rig } from '../rig.ts';
import { type HeldRow, median } from '../table.ts';
import { heavyModelDir } from './heavy-model.ts';
import { decodeStreams, setRoundTrip, type StreamsResult } from './streams.ts';

const ROUND_TRIP_MS = 20;
const STREAMS = 16;
const AT_MOST = 0.25;
const TABS = 2;

interface Side {
  rig: Rig;
  watch: EngineWatch;
  samples: StreamsResult[];
}

/** Measures the engine's wait with and without half-batches, for the default model and for one with more dense work. */
export async function overlapRows(repeats: number): Promise<HeldRow[]> {
  const heavy = await heavyModelDir();
  return [
    ...(await compare('default model', { speculate: 'off' }, { repeats, tokens: 40 })),
    ...(await compare(
      'attention about as long as a lap',
      { model: heavy, denseQuant: 'q8', speculate: 'off' },
      { repeats, tokens: 24 },
    )),
  ];
}

async function compare(
  name: string,
  options: Partial<Config>,
  { repeats, tokens }: { repeats: number; tokens: number },
): Promise<HeldRow[]> {
  const whole = await side({ ...options, halfBatches: 'off' });
  const halves = await side({ ...options, halfBatches: 'on' });
  try {
    for (let repeat = 0; repeat < repeats; repeat++) {
      for (const { rig, watch, samples } of [whole, halves]) {
        await setRoundTrip(rig, ROUND_TRIP_MS);
        samples.push(await decodeStreams(rig, watch, { streams: STREAMS, tokens, temperature: 0.8 }));
      }
    }
    return rowsOf(name, whole, halves, moeLayers(whole.rig.coordinator.config).length);
  } finally {
    for (const { rig } of [whole, halves]) await rig.close();
  }
}

async function side(coordinator: Partial<Config>): Promise<Side> {
  const rig = await Rig.start({ tabs: TABS, coordinator });
  return { rig, watch: new EngineWatch(rig.coordinator.forward), samples: [] };
}

/** Median of a figure per round, in which each stream gets one token. */
function perRound(samples: readonly StreamsResult[], pick: (result: StreamsResult) => number): number {
  return median(samples.map((result) => (pick(result) * STREAMS) / result.span.tokens));
}

function rowsOf(name: string, whole: Side, halves: Side, laps: number): HeldRow[] {
  const wait = ({ samples }: Side): number => perRound(samples, ({ span }) => span.engineIdleMs);
  const work = ({ samples }: Side): number => perRound(samples, ({ span }) => span.engineBusy * span.seconds * 1000);
  const rate = ({ samples }: Side): number => median(samples.map(({ tokensPerS }) => tokensPerS));
  const roundTripMs = median(halves.samples.map(({ span }) => span.roundTrip.p50));
  const share = wait(halves) / wait(whole);
  // A stream's next token needs its own half's work and all its laps; meanwhile the engine does both halves.
  const leastMs = Math.max(0, laps * roundTripMs - work(halves) / 2);
  const ms = (value: number): string => value.toFixed(1);
  return [
    {
      figure: `${name}, ${STREAMS} streams at ${ROUND_TRIP_MS} ms: engine’s wait with half-batches`,
      measured: `× ${share.toFixed(2)} (${ms(wait(halves))} of ${ms(wait(whole))} ms a round)`,
      reference: `< × ${AT_MOST}; at least × ${(leastMs / wait(whole)).toFixed(2)} by its laps`,
      met: share < AT_MOST,
    },
    {
      figure: '  engine’s work a round: halves, whole; tokens/s: halves, whole',
      measured: `${ms(work(halves))}, ${ms(work(whole))} ms; ${ms(rate(halves))}, ${ms(rate(whole))}`,
      reference: `${laps} laps × ${roundTripMs.toFixed(2)} ms`,
    },
  ];
}
