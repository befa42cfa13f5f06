import { parseArgs } from 'node:util';
import { DonorBrowser } from '../../tools/browser/donor-tabs.ts';
import { type ChaosReport, runChaos } from './run.ts';
import { HAPPENINGS } from './schedule.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';

const HELP = `npm run chaos -- [options]

Answers over virtual tabs that crash, freeze, lag and lose under a seeded schedule, held against a healthy run.

  --seed N        of the schedule (1)
  --peers N       virtual tabs: the real peer code over the memory transport (8)
  --tabs N        real tabs in a headless Chromium beside them; they crash and leave (0)
  --streams N     concurrent answers (20)
  --seconds N     how long (120)
  --every S       seconds between happenings (2)
  --only KINDS    comma-separated, of ${HAPPENINGS.join(', ')} (all)
  --json          the report as JSON on stdout
`;

const PLEDGE_MIB = 64;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    peers: { type: 'string', default: '8' },
    tabs: { type: 'string', default: '0' },
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
  const tabs = Number(values.tabs);
  if (!Number.isInteger(tabs) || tabs < 0 || tabs > 16) {
    process.stderr.write('chaos: --tabs takes a whole number from 0 to 16\n');
    return 2;
  }
  const coordinator = await startTinyCoordinator({
    maxBatch: Math.max(16, streams),
  });
  const browser = tabs > 0 ? await DonorBrowser.launch((line) => process.stderr.write(`${line}\n`)) : undefined;
  const report = await runChaos(coordinator, {
    seed,
    tabs,
    ...(browser && { openTab: () => browser.open(coordinator.url, PLEDGE_MIB) }),
    peers,
    streams,
    durationMs: seconds * 1000,
    everyMs: every * 1000,
    kinds,
    say: (line) => process.stderr.write(`${line}\n`),
  });
  await browser?.close();
  await coordinator.close();
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
