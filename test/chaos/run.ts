import { createRng } from '@shoal/model';
import type { Core } from '../../coordinator/src/index.ts';
import { SampleWindow } from '../../coordinator/src/dispatch/lap-stats.ts';
import { answer } from '../integration/answers.ts';
import { GOLDEN } from '../integration/golden.ts';
import { covered, until, VirtualDonor } from '../integration/virtual-donor.ts';
import { type Happening, schedule, type ScheduledEvent } from './schedule.ts';

export interface ChaosOptions {
  seed: number;
  peers: number;
  streams: number;
  durationMs: number;
  everyMs: number;
  kinds: readonly Happening[];
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

/** How long a lagging or lossy spell lasts. */
const SPELL_MS = 1_500;
const TOKENS = 48;

/** Streams over virtual tabs while they crash, freeze, lag and lose, held against the same streams without any of it. */
export async function runChaos(core: Core, options: ChaosOptions): Promise<ChaosReport> {
  const say = options.say ?? (() => {});
  const rng = createRng(options.seed);
  const donors = new Set<VirtualDonor>();
  const join = async (): Promise<void> => void donors.add(await VirtualDonor.join(core));
  for (let i = 0; i < options.peers; i++) await join();
  await until('all experts to be served', () => covered(core));

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
  const chaos = unleash(schedule(rng, options.durationMs, options.everyMs, options.kinds), donors, join, report, say);
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
  await Promise.all([...donors].map((donor) => donor.close()));
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
  donors: Set<VirtualDonor>,
  join: () => Promise<void>,
  report: ChaosReport,
  say: (line: string) => void,
): Promise<void> {
  const startedMs = performance.now();
  for (const { atMs, happening, victim } of events) {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, startedMs + atMs - performance.now())));
    const donor = [...donors][Math.floor(victim * donors.size)]!;
    say(`${(atMs / 1000).toFixed(1)} s: ${donor.session.peerId} ${happening}`);
    report.events[happening] = (report.events[happening] ?? 0) + 1;
    await befall(donor, happening);
    // Whoever has gone, now or since the last look, is replaced.
    for (const other of donors) {
      const frozen = other === donor && happening === 'freeze';
      if (other.session.state !== 'gone' && !frozen) continue;
      donors.delete(other);
      await join();
    }
  }
}

async function befall(donor: VirtualDonor, happening: Happening): Promise<void> {
  const both = [donor.wire.aToB, donor.wire.bToA];
  const spell = (faults: Partial<(typeof both)[number]>): void => {
    const usual = both.map((wire) => ({ ...wire }));
    for (const wire of both) Object.assign(wire, faults);
    setTimeout(() => both.forEach((wire, i) => Object.assign(wire, usual[i])), SPELL_MS).unref();
  };
  switch (happening) {
    case 'crash':
      return donor.kill('abrupt');
    case 'freeze':
      return donor.kill('black-hole');
    case 'leave':
      return donor.close();
    case 'lag':
      return spell({ delayMs: 60, jitterMs: 40 });
    case 'loss':
      return spell({ loss: 0.05 });
    case 'disorder':
      return spell({ reordering: 0.2, duplication: 0.1, jitterMs: 5 });
    default:
      happening satisfies never;
  }
}
