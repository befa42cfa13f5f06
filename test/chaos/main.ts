import { parseArgs } from 'node:util';
import { createCore } from '../../coordinator/src/index.ts';
import { CACHE_DIR, TINY_STORIES } from '../integration/golden.ts';
import { type ChaosReport, runChaos } from './run.ts';
import { HAPPENINGS } from './schedule.ts';

const HELP = `npm run chaos -- [options]

Answers over virtual tabs that crash, freeze, lag and lose under a seeded schedule, held against a healthy run.

  --seed N        of the schedule (1)
  --peers N       tabs (8)
  --streams N     concurrent answers (20)
  --seconds N     how long (120)
  --every S       seconds between happenings (2)
  --only KINDS    comma-separated, of ${HAPPENINGS.join(', ')} (all)
  --json          the report as JSON on stdout
`;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    peers: { type: 'string', default: '8' },
    streams: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '120' },
    every: { type: 'string', default: '2' },
    only: { type: 'string' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  },
});

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const only = values.only?.split(',');
  const kinds = only === undefined ? HAPPENINGS : HAPPENINGS.filter((kind) => only.includes(kind));
  const numbers = [values.seed, values.peers, values.streams, values.seconds, values.every].map(Number);
  if (numbers.some((value) => !(value > 0)) || kinds.length === 0) {
    process.stderr.write(`chaos: a number or a kind is off\n\n${HELP}`);
    return 2;
  }
  const [seed, peers, streams, seconds, every] = numbers as [number, number, number, number, number];
  const core = await createCore({
    modelDir: TINY_STORIES,
    quant: 'f16',
    cacheDir: CACHE_DIR,
    replicas: 2,
    maxBatch: Math.max(16, streams),
  });
  const report = await runChaos(core, {
    seed,
    peers,
    streams,
    durationMs: seconds * 1000,
    everyMs: every * 1000,
    kinds,
    say: (line) => process.stderr.write(`${line}\n`),
  });
  core.swarm.close();
  process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : describe(report));
  return report.failed.length === 0 && report.different.length === 0 ? 0 : 1;
}

function describe(report: ChaosReport): string {
  const { gapMs } = report;
  const happenings = Object.entries(report.events).map(([kind, count]) => `${count} ${kind}`);
  const rows: [string, string][] = [
    [
      'answers',
      `${report.answers} complete, ${report.failed.length} failed, ${report.different.length} unlike the healthy run's`,
    ],
    ['happenings', `${happenings.join(', ')}; ${report.tabsLost} tabs lost`],
    [
      'laps',
      `${report.laps}, ${report.redispatches} re-dispatched, ${report.hedges} hedged (${percent(report.hedges / report.laps)}, at most 5 %)`,
    ],
    ['uncovered work', `${percent(report.uncoveredShare)} (bound: 5 %)`],
    [
      'gap between tokens',
      `p99 ${gapMs.p99.toFixed(0)} ms, longest ${gapMs.max.toFixed(0)} ms; healthy p99 ${gapMs.healthyP99.toFixed(0)} ms`,
    ],
  ];
  return `\n${rows.map(([name, value]) => `${name.padEnd(20)} ${value}`).join('\n')}\n`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}

process.exitCode = await main();
