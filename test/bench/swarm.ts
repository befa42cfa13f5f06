import { SIM_MODELS, type SimModel } from '../../tools/simulate/models.ts';
import { justEnoughTabs, stillRows } from '../../tools/simulate/baseline-rows.ts';
import { planningTimes } from '../../tools/simulate/planning-times.ts';
import { ms, percent } from '../chaos/report.ts';
import { runChaos } from '../chaos/run.ts';
import { serverStage } from '../chaos/stage.ts';
import { processTabs } from '../chaos/victims.ts';
import { realRows, REAL_TABS } from './real-tabs.ts';
import { formatTable, type Row } from './table.ts';
import { type Begin, LIAR_KINDS, life, MAX_ROWS, RUNS } from '../integration/liars.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';

const SIM = { tokens: 200, seed: 1, popularity: 'uniform', batch: 1 } as const;
/** Issue 3's bounds on distinct peers per token and layer, with one copy: just enough tabs, and 15 % more. */
const BOUNDS: Readonly<Record<string, [number, number?]>> = {
  'v2-lite': [1.2],
  v3: [4.05, 3.65],
  qwen3: [1.3],
  olmoe: [1.05],
};
const CHAOS_SECONDS = 120;
/** Prints all figures by which a swarm is judged in one table. */
export async function benchSwarm({ json }: { json: boolean }): Promise<void> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const rows: Row[] = [];
  say('placement, simulated');
  rows.push(...Object.entries(SIM_MODELS).flatMap(([key, model]) => placementRows(key, model)));
  say('planning times');
  for (const times of planningTimes(SIM_MODELS.v3!, 10_000, 7)) {
    const ms = (value: number): string => `${value.toFixed(0)} ms`;
    rows.push(
      { figure: `plan V3 for ${times.peers} peers`, measured: ms(times.freshMs), reference: 'below 1000 ms' },
      { figure: '  one joins', measured: ms(times.joinMs), reference: 'below 50 ms' },
      { figure: '  one leaves', measured: ms(times.leaveMs), reference: 'below 50 ms' },
    );
  }
  say('liars');
  rows.push(...(await liarRows()));
  say(`${REAL_TABS} real tabs`);
  rows.push(...(await realRows()));
  say(`${CHAOS_SECONDS} s of crashes`);
  rows.push(...(await chaosRows(say)));
  if (json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else {
    const table = rows.map(({ figure, measured, reference }) => [figure, measured, reference]);
    process.stdout.write(`${formatTable([['', 'measured', 'held against'], ...table])}\n`);
  }
}

function placementRows(key: string, model: SimModel): Row[] {
  const results = stillRows(model, justEnoughTabs(model), SIM);
  const of = (planner: string, replicas: number, nth = 0) =>
    results.filter((row) => row.planner === planner && row.replicas === replicas)[nth]!;
  const [once, more, twice] = [of('Shoal', 1), of('Shoal', 1, 1), of('Shoal', 2)];
  const hash = of('per-expert hash', 1).distinctPeers.toFixed(2);
  const [bound, boundMore] = BOUNDS[key]!;
  return [
    {
      figure: `${model.name}, ${once.tabs} tabs: peers per token-layer`,
      measured: once.distinctPeers.toFixed(3),
      reference: `at most ${bound}; per-expert hash ${hash}`,
    },
    {
      figure: `  ${more.tabs} tabs`,
      measured: more.distinctPeers.toFixed(3),
      reference: boundMore === undefined ? '–' : `at most ${boundMore}`,
    },
    {
      figure: `  ${twice.tabs} tabs, two copies`,
      measured: twice.distinctPeers.toFixed(3),
      reference: 'below one copy',
    },
    {
      figure: '  bytes per token against what its peers imply',
      measured: `${(once.bytesPerToken / once.impliedBytesPerToken).toFixed(4)} ×`,
      reference: 'at most 1.05 ×',
    },
  ];
}

const BEGINNINGS: readonly Begin[] = ['from the start', 'once it serves', 'at the lowest share'];

/** Runs each kind of liar RUNS times per beginning; counts rows of answers that it changed before it was caught. */
async function liarRows(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const begin of BEGINNINGS) {
    let [uncaught, runs, most] = [0, 0, 0];
    for (const kind of LIAR_KINDS) {
      for (let seed = 1; seed <= RUNS; seed++, runs++) {
        const { caughtBy, changedRows } = await life(kind, begin, seed);
        if (caughtBy === 'nobody') uncaught++;
        most = Math.max(most, changedRows);
      }
    }
    rows.push({
      figure: `${LIAR_KINDS.length} kinds of liars × ${RUNS} runs, ${begin}: rows changed until caught`,
      measured: `at most ${most}, ${uncaught} of ${runs} not caught`,
      reference: `at most ${begin === 'from the start' ? 0 : MAX_ROWS}, all caught`,
    });
  }
  return rows;
}

/** Issue 3's own case: one of eight tabs is killed every 2 s and replaced, with 20 streams. Tabs are processes. */
async function chaosRows(say: (line: string) => void): Promise<Row[]> {
  const streams = 20;
  const stage = await serverStage((port) => startTinyCoordinator({ port, maxBatch: streams }));
  const report = await runChaos(stage, {
    seed: 1,
    tabs: [{ maker: processTabs(stage.core, () => stage.url), count: 8 }],
    streams,
    durationMs: CHAOS_SECONDS * 1000,
    everyMs: 2000,
    kinds: ['crash'],
    healthyRounds: 3,
    healthyAfter: true,
    say,
  });
  await stage.close();
  const { gapMs, goneMs } = report;
  const detectionMs = goneMs.crash!.max;
  return [
    {
      figure: `${report.tabsLost} of 8 tabs killed in ${CHAOS_SECONDS} s, ${streams} streams: answers`,
      measured: `${report.answers}, ${report.failed.length} failed, ${report.different.length} changed`,
      reference: '0 failed, 0 changed',
    },
    { figure: '  uncovered work', measured: percent(report.uncoveredShare), reference: 'below 5 %' },
    { figure: '  hedged laps', measured: percent(report.hedges / report.laps), reference: 'at most 5 %' },
    {
      figure: '  longest gap between tokens',
      measured: ms(gapMs.max),
      reference: `3 × healthy p99 + detection = 3 × ${ms(gapMs.healthyP99)} + ${ms(detectionMs)} = ${ms(3 * gapMs.healthyP99 + detectionMs)}`,
    },
  ];
}
