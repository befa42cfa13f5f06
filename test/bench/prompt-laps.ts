import { createRng, type EngineRow, type ForwardEngine, type ModelConfig } from '@shoal/model';
import { Scheduler } from '../../coordinator/src/scheduler/scheduler.ts';
import { NO_DRAFTS, testLimits } from '../../coordinator/src/scheduler/testing/options.ts';
import { planRequests, type Workload } from './load/workload.ts';
import { quantilesOf } from './statistics.ts';
import { formatTable } from './table.ts';

/** Laps per pass; then the milliseconds that a pass takes, and each of its rows. */
const LAPS = 5;
const PASS_MS = 106;
const ROW_MS = 0.7;
/** Lengths in tokens. */
const ANSWERS = { median: 48, sigma: 0.3, min: 1, max: 256 };
const DURATION_S = 300;
const MAX_PROMPT_LAPS = [1, 2, 3, 4];

interface Load {
  name: string;
  workload: Workload;
}

const LOADS: readonly Load[] = [
  { name: 'short prompts', workload: load(2, { median: 24, sigma: 0.5, min: 1, max: 200 }) },
  { name: 'long prompts', workload: load(2, { median: 100, sigma: 0.5, min: 1, max: 200 }) },
];

function load(ratePerS: number, promptTokens: Workload['promptTokens']): Workload {
  return { arrivals: { ratePerS }, durationS: DURATION_S, promptTokens, answerTokens: ANSWERS };
}

/**
 * Measures first tokens and gaps between tokens in virtual time, for different numbers of laps by which prompts may
 * delay running streams (docs/adr/0021): the production scheduler over passes that only take time.
 */
export async function benchPromptLaps({ json }: { json: boolean }): Promise<void> {
  const results = [];
  for (const { name, workload } of LOADS)
    for (const promptLaps of MAX_PROMPT_LAPS)
      results.push({ load: name, promptLaps, ...(await run(workload, promptLaps)) });
  if (json) {
    process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);
    return;
  }
  const rows = results.map(({ load: name, promptLaps, firstToken, gap, refused }) => [
    name,
    String(promptLaps),
    [firstToken.p50, firstToken.p95].map(Math.round).join(', '),
    [gap.p50, gap.p95, gap.p99].map(Math.round).join(', '),
    String(refused),
  ]);
  const head = ['load', 'prompt laps', 'first token ms, p50 p95', 'gap ms, p50 p95 p99', 'refused'];
  process.stdout.write(`${formatTable([head, ...rows])}\n`);
}

async function run(workload: Workload, promptLaps: number) {
  const clock = { nowMs: 0 };
  const engine = new Scheduler({
    modelId: 'none',
    forward: timedForward((rows) => (clock.nowMs += PASS_MS + ROW_MS * rows)),
    experts: { batch: () => ({ dispatch: () => ({ combine: () => Promise.reject(new Error('there are no laps')) }) }) },
    limits: testLimits({ promptLaps, microBatches: 1 }),
    lapsPerPass: LAPS,
    speculation: NO_DRAFTS,
    now: () => clock.nowMs,
  });
  const firstToken: number[] = [];
  const gap: number[] = [];
  engine.latency.events.on('wait', (wait, ms) => {
    if (wait === 'firstToken') firstToken.push(ms);
    else if (wait === 'betweenTokens') gap.push(ms);
  });
  const asked: Promise<void>[] = [];
  let refused = 0;
  for (const { atMs, promptTokens, answerTokens } of planRequests(createRng(1), workload).flat()) {
    while (clock.nowMs < atMs && engine.running.length > 0) await new Promise(setImmediate);
    clock.nowMs = Math.max(clock.nowMs, atMs);
    try {
      asked.push(read(engine, promptTokens, answerTokens));
    } catch {
      refused++;
    }
  }
  await Promise.all(asked);
  return { firstToken: quantilesOf(firstToken), gap: quantilesOf(gap), refused };
}

function read(engine: Scheduler, promptTokens: number, maxTokens: number): Promise<void> {
  const { signal } = new AbortController();
  const promptIds = Array.from({ length: promptTokens }, () => 1);
  const events = engine.submit({ id: '', promptIds, maxTokens, temperature: 0, topP: 1, seed: 1, signal });
  return (async () => {
    for await (const event of events) if (event.type === 'finish') return;
  })();
}

/** An engine that always gives the same token; `takes` is called with each pass's rows. */
function timedForward(takes: (rows: number) => void): ForwardEngine {
  const layerKinds = Array.from({ length: LAPS }, () => 'moe') as unknown as ModelConfig['layerKinds'];
  return {
    config: { maxPositionEmbeddings: 4096, eosTokenIds: [], numHiddenLayers: LAPS, layerKinds },
    lendPages: () => undefined,
    newSequence: () => ({ length: 0, allocatedBytes: 0, truncate: () => {}, free: () => {} }),
    forward: async (rows: readonly EngineRow[]) => {
      takes(rows.length);
      for (const { cache } of rows) (cache as { length: number }).length++;
      return { answers: rows.map(() => ({ tokenId: 1 })), hidden: new Float32Array(0) };
    },
  } as unknown as ForwardEngine;
}
