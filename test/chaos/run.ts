import { createRng } from '@shoal/model';
import type { Core } from '../../coordinator/src/index.ts';
import { SampleWindow } from '../../coordinator/src/dispatch/lap-stats.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
import type { DonorTab } from '../../tools/browser/donor-tabs.ts';
import { covered, until } from '../integration/virtual-donor.ts';
import { Crowd } from './crowd.ts';
import { type Happening, schedule, type ScheduledEvent } from './schedule.ts';

export interface ChaosOptions {
  seed: number;
  peers: number;
  streams: number;
  durationMs: number;
  everyMs: number;
  kinds: readonly Happening[];
  /** Real tabs beside the virtual ones, and how one is opened. */
  tabs?: number;
  openTab?: () => Promise<DonorTab>;
  say?: (line: string) => void;
}

export interface ChaosReport {
  answers: number;
  failed: string[];
  /** Answers that differ from the healthy run's, as prompt and position. */
  different: { prompt: string; at: number }[];
  events: Record<string, number>;
  tabsLost: number;
  redispatches: number;
  hedges: number;
  laps: number;
  /** Share of row × expert work done by the coordinator. */
  uncoveredShare: number;
  gapMs: { healthyP99: number; p99: number; max: number };
}

/** Real tabs compile shaders on the cores that everything else runs on. */
const JOIN_TIMEOUT_MS = 180_000;
const TOKENS = 48;

/** Streams over virtual tabs while they crash, freeze, lag and lose, held against the same streams without any of it. */
export async function runChaos(core: Core, options: ChaosOptions): Promise<ChaosReport> {
  const say = options.say ?? (() => {});
  const rng = createRng(options.seed);
  const crowd = new Crowd(core, options.openTab);
  await crowd.gather(options.peers, options.tabs ?? 0);
  await until('all experts to be served', () => covered(core), JOIN_TIMEOUT_MS);

  say('healthy run');
  const healthy = await healthyRun(core, options.streams);
  const before = counters(core);
  const report: ChaosReport = {
    answers: 0,
    failed: [],
    different: [],
    events: {},
    tabsLost: 0,
    redispatches: 0,
    hedges: 0,
    laps: 0,
    uncoveredShare: 0,
    gapMs: { healthyP99: healthy.gaps.quantile(0.99)!, p99: 0, max: 0 },
  };
  say('chaos');
  const gaps = new SampleWindow(1 << 17);
  const deadlineMs = performance.now() + options.durationMs;
  const streams = Array.from({ length: options.streams }, (_, i) =>
    stream(core, i, deadlineMs, healthy.ids, report, gaps),
  );
  const chaos = unleash(schedule(rng, options.durationMs, options.everyMs, options.kinds), crowd, report, say);
  await Promise.all([...streams, chaos]);
  const after = counters(core);
  report.tabsLost = after.departed - before.departed;
  report.redispatches = after.redispatches - before.redispatches;
  report.hedges = after.hedges - before.hedges;
  report.laps = after.laps - before.laps;
  const local = after.local - before.local;
  report.uncoveredShare = local / (local + after.tabs - before.tabs);
  report.gapMs.p99 = gaps.quantile(0.99)!;
  report.gapMs.max = gaps.quantile(1)!;
  await crowd.close();
  return report;
}

function counters({ dispatcher, swarm }: Core) {
  return {
    departed: swarm.departed,
    redispatches: dispatcher.redispatches,
    hedges: dispatcher.hedges,
    laps: dispatcher.laps,
    local: dispatcher.localAssignments,
    tabs: dispatcher.tabAssignments,
  };
}

async function healthyRun(core: Core, streams: number): Promise<{ ids: number[][]; gaps: SampleWindow }> {
  const gaps = new SampleWindow(1 << 14);
  const ids: number[][] = GOLDEN.map(() => []);
  const run = async (i: number): Promise<void> => {
    ids[i % GOLDEN.length] = await timedAnswer(core, i % GOLDEN.length, gaps);
  };
  await Promise.all(Array.from({ length: streams }, (_, i) => run(i)));
  // Fewer streams than prompts leave some without a healthy answer.
  for (const [i, known] of ids.entries()) if (known.length === 0) await run(i);
  return { ids, gaps };
}

async function timedAnswer(core: Core, prompt: number, gaps: SampleWindow): Promise<number[]> {
  let lastMs: number | undefined;
  const { ids } = await answer(core, GOLDEN[prompt]!.prompt_ids, {
    maxTokens: TOKENS,
    onToken: () => {
      const nowMs = performance.now();
      if (lastMs !== undefined) gaps.add(nowMs - lastMs);
      lastMs = nowMs;
    },
  });
  return ids;
}

async function stream(
  core: Core,
  index: number,
  deadlineMs: number,
  healthy: readonly (readonly number[])[],
  report: ChaosReport,
  gaps: SampleWindow,
): Promise<void> {
  for (let round = 0; performance.now() < deadlineMs; round++) {
    const prompt = (index + round) % GOLDEN.length;
    try {
      const ids = await timedAnswer(core, prompt, gaps);
      report.answers++;
      const at = ids.findIndex((id, i) => id !== healthy[prompt]![i]);
      if (at >= 0 || ids.length !== healthy[prompt]!.length)
        report.different.push({ prompt: GOLDEN[prompt]!.prompt, at });
    } catch (error) {
      report.failed.push(String(error));
    }
  }
}

async function unleash(
  events: readonly ScheduledEvent[],
  crowd: Crowd,
  report: ChaosReport,
  say: (line: string) => void,
): Promise<void> {
  const startedMs = performance.now();
  for (const { atMs, happening, victim } of events) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, startedMs + atMs - performance.now())));
    const one = crowd.pick(victim);
    const happened = await one.befall(happening);
    say(`${(atMs / 1000).toFixed(1)} s: ${one.name()}: ${happened}`);
    report.events[happened] = (report.events[happened] ?? 0) + 1;
    await crowd.replaceLost(happening === 'freeze' ? one : undefined);
  }
}
