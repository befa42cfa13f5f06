import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createRng } from '@shoal/model';
import type { EngineWatch } from '../engine-watch.ts';
import type { Clients } from '../load/clients.ts';
import { promptsOf } from '../load/prompts.ts';
import { planRequests, type Workload } from '../load/workload.ts';
import type { Rig } from '../rig.ts';
import { Span } from '../span.ts';
import { trendOf } from '../statistics.ts';
import type { HeldRow } from '../table.ts';
import { setRoundTrip } from './streams.ts';

const LOOP_STREAMS = 64;
const LOOP_SECONDS = 15;
const LOOP_WITHIN_MS = 10;
const LOOP_ROUND_TRIP_MS = 20;

const SOAK_STREAMS = 16;
/** Short, so that a minute has many laps. */
const SOAK_ROUND_TRIP_MS = 5;
const SAMPLE_MS = 2_000;
/** Of a soak, before what is kept has filled up. */
const WARM_UP_SHARE = 0.25;

const closedLoop = (streams: number, durationS: number): Workload => ({
  arrivals: { streams },
  durationS,
  promptTokens: { median: 24, sigma: 0.5, min: 1, max: 200 },
  answerTokens: { median: 64, sigma: 0.5, min: 8, max: 256 },
});

interface Crowd {
  rig: Rig;
  watch: EngineWatch;
  clients: Clients;
}

/** The event loop of a coordinator that 64 clients stream from. */
export async function loopRows(crowd: Crowd): Promise<HeldRow[]> {
  await setRoundTrip(crowd.rig, LOOP_ROUND_TRIP_MS);
  const span = await Span.begin(crowd.rig, crowd.watch);
  await ask(crowd, closedLoop(LOOP_STREAMS, LOOP_SECONDS));
  const { loopDelayP99Ms, mainThread } = await span.end();
  return [
    {
      figure: `event loop’s delay, ${LOOP_STREAMS} streams over HTTP at ${LOOP_ROUND_TRIP_MS} ms: p99`,
      measured: `${loopDelayP99Ms.toFixed(1)} ms (main thread ${(100 * mainThread).toFixed(0)} % busy)`,
      reference: `< ${LOOP_WITHIN_MS} ms`,
      met: loopDelayP99Ms < LOOP_WITHIN_MS,
    },
  ];
}

type Memory = Pick<NodeJS.MemoryUsage, 'heapUsed' | 'external' | 'rss'>;

/** Memory while 16 clients stream for so many minutes, each sample after a forced collection. */
export async function soakRows(crowd: Crowd, minutes: number): Promise<HeldRow[]> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  await setRoundTrip(crowd.rig, SOAK_ROUND_TRIP_MS);
  const samples: (Memory & { atH: number })[] = [];
  const startedMs = performance.now();
  const durationMs = minutes * 60_000;
  const timer = setInterval(() => {
    const elapsedMs = performance.now() - startedMs;
    // Towards the end streams run out, and their memory with them.
    if (elapsedMs < WARM_UP_SHARE * durationMs || elapsedMs > durationMs) return;
    collect();
    const { heapUsed, external, rss } = process.memoryUsage();
    samples.push({ heapUsed, external, rss, atH: elapsedMs / 3_600_000 });
  }, SAMPLE_MS);
  const tokens = crowd.rig.coordinator.engine.tokens;
  await ask(crowd, closedLoop(SOAK_STREAMS, minutes * 60));
  clearInterval(timer);
  const generated = crowd.rig.coordinator.engine.tokens - tokens;
  return (['heapUsed', 'external', 'rss'] as const).map((name, i) =>
    memoryRow(name, samples, i === 0, { minutes, generated }),
  );
}

function memoryRow(
  name: keyof Memory,
  samples: readonly (Memory & { atH: number })[],
  isFirst: boolean,
  { minutes, generated }: { minutes: number; generated: number },
): HeldRow {
  const { slope, slopeError } = trendOf(samples.map((sample) => [sample.atH, sample[name] / 2 ** 20] as const));
  const last = samples.at(-1)?.[name] ?? 0;
  return {
    figure: isFirst ? `memory, ${SOAK_STREAMS} streams, ${minutes} min, ${generated} tokens: ${name}` : `  ${name}`,
    measured: `${(last / 2 ** 20).toFixed(1)} MiB, ${signed(slope)} ± ${slopeError.toFixed(1)} MiB/h`,
    reference: 'flat: 0 within 2 standard errors',
    // rss also holds what the allocator has not given back, and reserved memories that are touched for the first time.
    ...(name !== 'rss' && { met: slope <= 2 * slopeError }),
  };
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(1)}`;
}

async function ask({ rig, clients }: Crowd, workload: Workload): Promise<void> {
  const { url, engine, tokenizer } = rig.coordinator;
  const chains = promptsOf(planRequests(createRng(1), workload), tokenizer);
  const durationMs = workload.durationS * 1000;
  const outcomes = await clients.ask({ url, model: engine.modelId, chains, durationMs, temperature: 0.8 });
  const failed = outcomes.find(({ status, broken }) => status !== 200 || broken !== undefined);
  if (failed) throw new Error(`A stream failed: ${failed.broken ?? `HTTP ${failed.status}`}`);
}
