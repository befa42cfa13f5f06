import { createRng } from '@shoal/model';
import { collector } from '../../collect.ts';
import { answer } from '../../integration/answers.ts';
import type { EngineWatch } from '../engine-watch.ts';
import type { Clients } from '../load/clients.ts';
import { promptsOf } from '../load/prompts.ts';
import { planRequests, type Workload } from '../load/workload.ts';
import { Rig } from '../rig.ts';
import { Span } from '../span.ts';
import { trendOf } from '../statistics.ts';
import type { HeldRow } from '../table.ts';
import { setRoundTrip } from './streams.ts';

const LOOP_STREAMS = 64;
const LOOP_SECONDS = 15;
const LOOP_WITHIN_MS = 10;
const LOOP_ROUND_TRIP_MS = 20;

const SOAK_STREAMS = 16;
/** Short, so that there are many laps in a minute. */
const SOAK_ROUND_TRIP_MS = 5;
/** Slightly more than the streams may grow to, so that it is full from the start. */
const SOAK_KV_BYTES = 8 * 2 ** 20;
const FILLING_TOKENS = 256;
const SAMPLE_MS = 2_000;
/** Share of a soak during which code is compiled and V8 settles the size of its heap. */
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

interface Soak extends Pick<Crowd, 'clients'> {
  tabs: number;
}

/** Measures the event loop of a coordinator with 64 streaming clients. */
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

/**
 * Measures memory while 16 clients stream for some minutes, each sample after a forced collection. The coordinator's KV
 * cache is small and full: until it is, memory grows with the cached prefixes of past requests, up to --kv-memory.
 */
export async function soakRows({ tabs, clients }: Soak, minutes: number): Promise<HeldRow[]> {
  const rig = await Rig.start({ tabs, coordinator: { speculate: 'off', kvMemoryBytes: SOAK_KV_BYTES } });
  try {
    await setRoundTrip(rig, SOAK_ROUND_TRIP_MS);
    await fillKv(rig);
    return await soak(rig, clients, minutes);
  } finally {
    await rig.close();
  }
}

/** Sends prompts with unique beginnings until another one no longer adds cached pages. */
async function fillKv({ coordinator }: Rig): Promise<void> {
  const { scheduler, config } = coordinator;
  const rng = createRng(2);
  for (let kept = -1; scheduler.kvBytesKept > kept;) {
    kept = scheduler.kvBytesKept;
    const prompt = Array.from({ length: FILLING_TOKENS }, () => 4 + Math.floor(rng() * (config.vocabSize - 8)));
    await answer(coordinator, prompt, { maxTokens: 1 });
  }
}

async function soak(rig: Rig, clients: Clients, minutes: number): Promise<HeldRow[]> {
  const { scheduler } = rig.coordinator;
  const collect = collector();
  const samples: (Memory & { atH: number })[] = [];
  const startedMs = performance.now();
  const durationMs = minutes * 60_000;
  const timer = setInterval(() => {
    const elapsedMs = performance.now() - startedMs;
    // Towards the end streams finish and free their memory.
    if (elapsedMs < WARM_UP_SHARE * durationMs || elapsedMs > durationMs) return;
    collect();
    const { heapUsed, external, rss } = process.memoryUsage();
    samples.push({ heapUsed, external, rss, atH: elapsedMs / 3_600_000 });
  }, SAMPLE_MS);
  const { tokens } = scheduler;
  await ask({ rig, clients }, closedLoop(SOAK_STREAMS, minutes * 60));
  clearInterval(timer);
  const generated = scheduler.tokens - tokens;
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
    met: slope <= 2 * slopeError,
  };
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(1)}`;
}

async function ask({ rig, clients }: Pick<Crowd, 'rig' | 'clients'>, workload: Workload): Promise<void> {
  const { url, scheduler, tokenizer } = rig.coordinator;
  const chains = promptsOf(planRequests(createRng(1), workload), tokenizer);
  const durationMs = workload.durationS * 1000;
  const outcomes = await clients.ask({ url, model: scheduler.modelId, chains, durationMs, temperature: 0.8 });
  const failed = outcomes.find(({ status, broken }) => status !== 200 || broken !== undefined);
  if (failed) throw new Error(`A stream failed: ${failed.broken ?? `HTTP ${failed.status}`}`);
}
