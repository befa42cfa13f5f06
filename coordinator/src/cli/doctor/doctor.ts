import { availableParallelism } from 'node:os';
import { runnableVariants } from '@shoal/kernels/node';
import { SWITCH, text } from '../../base/option-values.ts';
import { HELP_LINE, option, optionsHelp, readOptions, type OptionValues, wantsHelp } from '../../base/options.ts';
import { UsageError } from '../../base/usage-error.ts';
import { VERSION } from '../../base/version.ts';
import { CONFIG_OPTIONS } from '../../config.ts';
import { databasePlace } from '../../open-database.ts';
import { openNetwork } from '../../open-network.ts';
import { IceServers } from '../../swarm/ice-servers.ts';
import type { CommandIo } from '../command.ts';
import { keepOffline } from '../model-option.ts';
import { checkClock } from './clock.ts';
import { type Check, failed, type Finding, ok } from './finding.ts';
import { checkDatabase } from './database.ts';
import { checkGpu } from './gpu.ts';
import { checkIceServers } from './ice.ts';
import { checkMemory } from './memory.ts';
import { examineModel } from './model.ts';
import { checkPort } from './port.ts';
import { checkFolder } from './storage.ts';
import { checkUdp } from './udp.ts';

const OWN_OPTIONS = {
  clockUrl: option('clock', text('URL'), {
    defaultText: 'none is asked',
    help: 'server whose Date header the clock of this machine is compared with',
  }),
  json: option('json', SWITCH, { help: 'print one JSON document' }),
};
/** All of `serve`: what it is to be started with is given to the doctor first, in arguments or the environment. */
const OPTIONS = { ...CONFIG_OPTIONS, ...OWN_OPTIONS };

const HELP = `usage: shoal doctor [options of shoal serve] [--clock URL] [--json]

Checks whether this machine can serve with these options: port, UDP, STUN and TURN servers, GPU, disk, memory, database, clock, and
model.
Changes nothing. Ends with 1 if something failed, and with 0 if not.

${optionsHelp(OWN_OPTIONS)}${HELP_LINE}
The other options are those of shoal serve.
`;

/** More than any check's own deadlines. */
const CHECK_TIMEOUT_MS = 60_000;
const NAME_COLUMN = 9;
/** Of an embedded one with empty tables. */
const NEW_DATABASE_BYTES = 45e6;

export interface Reported {
  check: string;
  findings: readonly Finding[];
}

/** `shoal doctor`. Resolves with the exit code: 0 nothing failed, 1 something did, 2 wrong usage. */
export async function runDoctor(argv: readonly string[], io: CommandIo): Promise<number> {
  if (wantsHelp(argv)) {
    io.stdout.write(HELP);
    return 0;
  }
  try {
    const options = readOptions(OPTIONS, argv, process.env);
    const reports = await runChecks(await checksOf(options, io), options.json ? undefined : io);
    if (options.json) io.stdout.write(`${JSON.stringify({ version: VERSION, checks: reports }, null, 2)}\n`);
    else io.stdout.write(`\n${summary(reports)}\n`);
    return count(reports, 'failed') === 0 ? 0 : 1;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    io.stderr.write(`shoal doctor: ${error.message}\nSee: shoal doctor --help\n`);
    return 2;
  }
}

async function checksOf(options: OptionValues<typeof OPTIONS>, io: CommandIo): Promise<Check[]> {
  keepOffline(options);
  const { host, port, iceServers, turnSecret, clockUrl, cacheDir } = options;
  const model = examineModel(options, io);
  const place = databasePlace(options);
  return [
    { name: 'program', run: async () => [checkProgram()] },
    { name: 'model', run: async () => (await model).findings },
    {
      name: 'disk',
      run: async () => {
        const { packedBytes: neededBytes } = await model;
        const cache = await checkFolder({ dir: cacheDir, keeps: 'the packed model', flag: '--cache', neededBytes });
        if (place?.kind !== 'embedded') return [cache];
        const data = { dir: place.dir, keeps: 'the database', flag: '--data', neededBytes: NEW_DATABASE_BYTES };
        return [cache, await checkFolder(data)];
      },
    },
    {
      name: 'memory',
      run: async () => {
        const { memory } = await model;
        return memory ? [checkMemory(memory)] : [];
      },
    },
    { name: 'database', run: () => checkDatabase(place) },
    { name: 'port', run: () => checkPort(host, typeof port === 'number' ? { first: port, last: port } : port) },
    { name: 'udp', run: () => checkUdp({ hasIceServers: iceServers.length > 0, open: () => openNetwork(options) }) },
    // With a login as a donor gets it.
    { name: 'ice', run: () => checkIceServers(new IceServers(iceServers, turnSecret).forDonor(VERSION)) },
    { name: 'clock', run: () => checkClock(clockUrl) },
    { name: 'gpu', run: async () => [await checkGpu()] },
  ];
}

function checkProgram(): Finding {
  const variants = runnableVariants();
  const about = `Shoal ${VERSION}, Node ${process.versions.node}, ${process.platform}-${process.arch}, ${availableParallelism()} cores`;
  if (variants.length === 0)
    return failed(
      `${about}: WebAssembly has no SIMD here`,
      'Use a processor with SSE4.1 or NEON, and a Node of nodejs.org.',
    );
  return ok(about);
}

/** Runs checks one after the other, so that none measures what another does, and shows each when it is done. */
export async function runChecks(
  checks: readonly Check[],
  io: CommandIo | undefined,
  timeoutMs = CHECK_TIMEOUT_MS,
): Promise<Reported[]> {
  const reports: Reported[] = [];
  for (const check of checks) {
    const findings = await runCheck(check, timeoutMs);
    reports.push({ check: check.name, findings });
    for (const finding of findings) io?.stdout.write(lineOf(check.name, finding));
  }
  return reports;
}

async function runCheck({ run }: Check, timeoutMs: number): Promise<readonly Finding[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it took longer than ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    return await Promise.race([run(), late]);
  } catch (error) {
    const { message } = error as Error;
    return [failed(`the check itself failed: ${message}`, 'Report this with the output of shoal doctor --json.')];
  } finally {
    clearTimeout(timer);
  }
}

function lineOf(name: string, { verdict, what, remedy }: Finding): string {
  const margin = ' '.repeat(2 * NAME_COLUMN);
  const first = `${verdict.padEnd(NAME_COLUMN)}${name.padEnd(NAME_COLUMN)}${what}\n`;
  return remedy === undefined ? first : `${first}${margin}${remedy}\n`;
}

function summary(reports: readonly Reported[]): string {
  const [failures, warnings] = [count(reports, 'failed'), count(reports, 'warning')];
  if (failures + warnings === 0) return 'Nothing is wrong.';
  const part = (n: number, what: string): string[] => (n === 0 ? [] : [`${n} ${what}${n === 1 ? '' : 's'}`]);
  return `${[...part(failures, 'failure'), ...part(warnings, 'warning')].join(', ')}.`;
}

function count(reports: readonly Reported[], verdict: Finding['verdict']): number {
  return reports.flatMap(({ findings }) => findings).filter((finding) => finding.verdict === verdict).length;
}
