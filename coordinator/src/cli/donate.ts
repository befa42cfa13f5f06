import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { totalmem } from 'node:os';
import {
  DiskShardCache,
  type FoundDevice,
  findDevice,
  limitsOf,
  readDays,
  readHours,
  readInvite,
  termsText,
  visit,
} from '@shoal/donor/terminal';
import { MIN_SHARE } from '@shoal/protocol';
import { choice, integer, path, SIZE, SWITCH, type ValueKind } from '../base/option-values.ts';
import { option, type OptionValues } from '../base/options.ts';
import { OWN_DIRS } from '../base/places.ts';
import { UsageError } from '../base/usage-error.ts';
import { VERSION } from '../base/version.ts';
import { command, type CommandIo, InterruptedError } from './command.ts';
import { StopSignals } from './stop-signals.ts';

const CHECK_TIMEOUT_MS = 15_000;
const MAX_DEFAULT_BYTES = 2 ** 30;
const DEFAULT_SHARE = 1 / 8;

/** What a reader of texts understands. `takes`: what the error says it has to be. */
function readBy<T>(value: string, takes: string, read: (given: string) => T | undefined): ValueKind<T> {
  const parse = (given: string): T => {
    const found = read(given);
    if (found === undefined) throw new UsageError(`takes ${takes}, not "${given}"`);
    return found;
  };
  return { value, parse };
}

const INVITE = readBy('TOKEN', 'an invitation, or the link that ends in one', readInvite);
const HOURS = readBy('HH:MM-HH:MM', 'hours such as 22:00-07:00', readHours);
const DAYS = readBy('DAYS', 'days such as mon-fri, or sat,sun', readDays);

const OPTIONS = {
  memory: option('memory', SIZE, {
    defaultText: "an eighth of the machine's, at most 1GiB",
    help: 'most that experts may take of the device',
  }),
  device: option('device', choice('gpu', 'cpu'), {
    defaultText: 'the GPU, or else the processor',
    help: 'what is lent',
  }),
  invite: option('invite', INVITE, { defaultText: 'none', help: 'invitation, where the swarm wants one' }),
  share: option('share', integer(Math.round(100 * MIN_SHARE), 100), {
    defaultText: '100',
    help: 'most that it works, in percent of the time',
  }),
  hours: option('hours', HOURS, { defaultText: 'all day', help: "when it lends, by this machine's clock" }),
  days: option('days', DAYS, { defaultText: 'every day', help: 'days on which lending begins' }),
  dayBytes: option('traffic-per-day', SIZE, {
    defaultText: 'no limit',
    help: 'most traffic of all donors of this user',
  }),
  monthBytes: option('traffic-per-month', SIZE, { defaultText: 'no limit', help: 'the same for a month' }),
  cacheDir: option('cache', path('DIR'), {
    default: join(OWN_DIRS.cache, 'donor'),
    defaultText: "in the user's cache folder",
    help: 'folder that keeps weights for the next visit, up to twice --memory',
  }),
  dataDir: option('data', path('DIR'), {
    default: join(OWN_DIRS.data, 'donor'),
    defaultText: "in the user's data folder",
    help: 'folder of what this user is known by to coordinators',
  }),
  yes: option('yes', SWITCH, { help: 'agree to the terms without being asked' }),
};

/** The command itself; `runDonate` ends the process after it. */
export const donateCommand = command({
  name: 'donate',
  usage: ['URL [options]'],
  about: `
Lends this machine's GPU or processor to the coordinator at URL, as the page there does in a browser. Shows what it takes and asks before
anything is downloaded. Ctrl-C finishes the work in progress and leaves, and once more leaves at once. Lost connections are made anew.
A GPU needs the npm package webgpu beside Shoal.

Exit codes: 0 it has left as it was told, 1 it could not lend or the terms were declined, 2 wrong usage, 130 it has left at once.`,
  options: OPTIONS,
  operand: 'URL',
  run: donate,
});

/** Ends the process: WebRTC's threads outlive their connections, and Dawn's its device. */
export async function runDonate(argv: readonly string[], io: CommandIo): Promise<number> {
  return process.exit(await donateCommand(argv, io));
}

async function donate(options: OptionValues<typeof OPTIONS>, io: CommandIo, operand: string): Promise<void> {
  const url = parseAddress(operand);
  if (!options.yes && !io.stdin?.isTTY) {
    throw new UsageError('asks for agreement, and there is no terminal to ask on: read the terms, and add --yes');
  }
  const limits = limitsGiven(options);
  const version = await checkCoordinator(url);
  const found: FoundDevice & { why?: string } = await findDevice(options.device);
  if (found.why !== undefined) io.stderr.write(`No GPU to lend (${found.why}), so it is the processor.\n`);
  const pledgeBytes = options.memory ?? Math.min(MAX_DEFAULT_BYTES, Math.floor(totalmem() * DEFAULT_SHARE));
  const keptBytes = await new DiskShardCache(options.cacheDir).sizeBytes();
  io.stdout.write(`${termsText({ ...found, url, pledgeBytes, keptBytes, cacheDir: options.cacheDir, limits })}\n`);
  if (!options.yes && !(await agrees(io))) throw new DeclinedError('Nothing is lent.');
  try {
    await lend({ ...options, url, limits, pledgeBytes, device: found.device }, io);
  } catch (error) {
    throw version === VERSION || (error as { code?: string }).code !== 'version'
      ? error
      : new Error(`${(error as Error).message} The coordinator is version ${version}, this is ${VERSION}.`);
  }
}

function limitsGiven({ share, ...given }: OptionValues<typeof OPTIONS>): ReturnType<typeof limitsOf> {
  try {
    return limitsOf({ sharePercent: share, ...given });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** Not a failure of anything, but nothing is lent: scripts should know. */
class DeclinedError extends Error {}

type Lending = Pick<OptionValues<typeof OPTIONS>, 'invite' | 'cacheDir' | 'dataDir'> & {
  url: URL;
  pledgeBytes: number;
  limits: ReturnType<typeof limitsOf>;
  device: FoundDevice['device'];
};

async function lend(lending: Lending, io: CommandIo): Promise<void> {
  const leave = new AbortController();
  const stop = new StopSignals({ onInsist: () => leave.abort() });
  const isTerminal = io.stderr.isTTY === true;
  const say = (line: string): void => void io.stdout.write(`${line}\n`);
  stop.signal.addEventListener('abort', () => {
    say('Finishing what is being computed. Ctrl-C again leaves at once.');
  });
  try {
    await visit(lending, {
      say,
      show: isTerminal ? (line) => void io.stderr.write(`\r\u001B[K${line}`) : undefined,
      finish: stop.signal,
      leave: leave.signal,
    });
  } finally {
    stop.close();
  }
  if (leave.signal.aborted) throw new InterruptedError('Left at once.');
}

async function agrees(io: CommandIo): Promise<boolean> {
  const lines = createInterface({ input: io.stdin!, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await lines.question('Lend? [y/N] ')).trim());
  } finally {
    lines.close();
  }
}

function parseAddress(given: string): URL {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '')
    throw new UsageError(`URL is the coordinator’s address, such as https://shoal.example, not "${given}"`);
  url.search = '';
  url.hash = '';
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

/** Returns the coordinator's version. Throws where there is none at the address. */
async function checkCoordinator(url: URL): Promise<string> {
  const remedy = 'Is the address right, and is the coordinator up?';
  let response: Response;
  try {
    response = await fetch(new URL('healthz', url), { signal: AbortSignal.timeout(CHECK_TIMEOUT_MS) });
  } catch (error) {
    const { cause, message } = error as Error;
    const why = (cause as Error | undefined)?.message || message;
    throw new Error(`${url.href} can't be reached (${why}). ${remedy}`, { cause: error });
  }
  const body = (await response.json().catch(() => ({}))) as { version?: unknown };
  if (response.ok && typeof body.version === 'string') return body.version;
  throw new Error(`There is no Shoal coordinator at ${url.href}: /healthz answered ${response.status}. ${remedy}`);
}
