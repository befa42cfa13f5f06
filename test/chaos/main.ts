import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { ROOT_DIR } from '../../coordinator/src/config.ts';
import { DonorBrowser } from '../../tools/browser/donor-tabs.ts';
import { startTinyCoordinator } from '../integration/tiny-coordinator.ts';
import { coordinatorsMain } from './coordinators/main.ts';
import { databaseChaos } from './database.ts';
import { describe, holds } from './report.ts';
import { runChaos } from './run.ts';
import { type Happening, HAPPENINGS } from './schedule.ts';
import { serverStage } from './stage.ts';
import { processTabs, realTabs, virtualTabs } from './victims.ts';

const HELP = `npm run chaos -- [options]
npm run chaos -- coordinators [options]   several coordinators over one database; see its --help

Answers over HTTP from a coordinator whose tabs crash, freeze, lag, lose and lie under a seeded schedule, and which restarts
itself in mid-answer, held against a healthy run. Exits with 1 unless every answer completes, every answer that has no row
of a liar (or of a wire that changes bytes) is the healthy run's, no result of a tab in probation or quarantine is in any
sum, every liar is caught within 500 rows, every adversary is gone within a minute, and all tabs are back 10 s after a
restart without a download.

  --seed N        of the schedule (1)
  --peers N       tabs in processes of their own: the donor page's session and the real peer code over socket.io and
                  WebRTC; SIGKILL, SIGSTOP and SIGTERM are their crash, freeze and leave (8)
  --virtual N     tabs over the memory transport, on the coordinator's own thread (0)
  --tabs N        real tabs in a headless Chromium; they crash and leave (0)
  --streams N     concurrent answers (20)
  --seconds N     how long (120)
  --every S       seconds between happenings (2)
  --only KINDS    comma-separated, of ${HAPPENINGS.join(', ')} (all)
  --audits        instead of all this: 1,500,000 audits of honest tabs of every backend and format, about a minute and a half
                  on two cores; exits with 1 if a row of any of them is blamed
  --database      instead of all this: a Postgres server of this machine (Debian's, which is started for it) is killed, and its
                  line cut at COMMITs and unplugged, while two coordinators write to it for --seconds
  --json          the report as JSON on stdout
`;

const PLEDGE_MIB = 64;
const HEALTHY_ROUNDS = 3;

const isOfCoordinators = process.argv[2] === 'coordinators';
const { values } = parseArgs({
  args: isOfCoordinators ? [] : process.argv.slice(2),
  options: {
    seed: { type: 'string', default: '1' },
    peers: { type: 'string', default: '8' },
    virtual: { type: 'string', default: '0' },
    tabs: { type: 'string', default: '0' },
    streams: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '120' },
    every: { type: 'string', default: '2' },
    only: { type: 'string' },
    audits: { type: 'boolean' },
    database: { type: 'boolean' },
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  },
});

async function main(): Promise<number> {
  if (isOfCoordinators) return coordinatorsMain(process.argv.slice(3));
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (values.audits) return runAudits();
  if (values.database) return runDatabase();
  const only = values.only?.split(',');
  const unknown = only?.find((kind) => !HAPPENINGS.some((known) => known === kind));
  const numbers = [values.seed, values.streams, values.seconds, values.every].map(Number);
  const counts = [values.peers, values.virtual, values.tabs].map(Number);
  if (numbers.some((value) => !(value > 0)) || unknown !== undefined) {
    process.stderr.write(`chaos: ${unknown === undefined ? 'a number is off' : `no kind "${unknown}"`}\n\n${HELP}`);
    return 2;
  }
  if (counts.some((count) => !Number.isInteger(count) || count < 0 || count > 16) || counts.every((n) => n === 0)) {
    process.stderr.write('chaos: --peers, --virtual and --tabs take whole numbers from 0 to 16, not all of them 0\n');
    return 2;
  }
  return run(numbers, counts, only ? HAPPENINGS.filter((kind) => only.includes(kind)) : HAPPENINGS);
}

async function runDatabase(): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const faults = await databaseChaos(Number(values.seconds), Number(values.seed), say);
  say(faults.length === 0 ? 'Everything holds.' : `${faults.length} of these do not hold.`);
  return faults.length === 0 ? 0 : 1;
}

/** The long form of a test, whose WebGPU kernels only vitest can load in Node. */
function runAudits(): number {
  const args = [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--project',
    'integration',
    'test/integration/trust-honest.test.ts',
  ];
  const env = { ...process.env, SHOAL_FULL_AUDITS: '1' };
  const { status } = spawnSync(process.execPath, args, { cwd: ROOT_DIR, env, stdio: 'inherit' });
  return status ?? 1;
}

async function run(numbers: number[], counts: number[], kinds: readonly Happening[]): Promise<number> {
  const [seed, streams, seconds, every] = numbers as [number, number, number, number];
  const [processes, virtual, real] = counts as [number, number, number];
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const stage = await serverStage(
    // Stops in mid-answer, without time to finish.
    (port) => startTinyCoordinator({ port, maxBatch: Math.max(16, streams), drainTimeoutMs: 0 }),
    { traced: kinds.includes('liar') || kinds.includes('corruption') },
  );
  const browser = real > 0 ? await DonorBrowser.launch() : undefined;
  const tabs = [
    { maker: processTabs(stage.core, () => stage.url), count: processes },
    { maker: virtualTabs(stage.core), count: virtual },
    { maker: realTabs(() => browser!.open(stage.url, PLEDGE_MIB)), count: real },
  ].filter(({ count }) => count > 0);
  try {
    const options = { seed, tabs, streams, kinds, durationMs: seconds * 1000, everyMs: every * 1000 };
    const report = await runChaos(stage, { ...options, healthyRounds: HEALTHY_ROUNDS, healthyAfter: true, say });
    process.stdout.write(values.json ? `${JSON.stringify(report, null, 2)}\n` : describe(report));
    return holds(report) ? 0 : 1;
  } finally {
    await browser?.close();
    await stage.close();
  }
}

process.exitCode = await main();
