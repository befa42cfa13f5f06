import { parseArgs } from 'node:util';
import { defaultConfig } from '../../../coordinator/src/config.ts';
import type { Pace } from '../../tabs/paced-backend.ts';
import { FULL_PACE } from '../rig.ts';
import type { Workload } from './workload.ts';

export interface LoadOptions {
  workload: Workload;
  roundTripMs: number;
  loss: number;
  tabs: number;
  paces: Pace[];
  maxBatch: number | undefined;
  maxQueue: number | undefined;
  promptLaps: number;
  temperature: number;
  seed: number;
  json: boolean;
}

export const LOAD_HELP = `npm run bench -- load [options]

Requests as clients make them (HTTP, streamed chat completions) to a coordinator of the default model whose tabs are processes
of their own over WebRTC, behind lines of a stated length. Everything random is seeded.

  --rate N            requests a second, arriving as a Poisson process whatever the server does (2)
  --streams N         instead: N clients, each of which asks again when it is answered
  --seconds N         for how long requests come (30)
  --prompt N          tokens of a prompt: median of a log-normal distribution (24)
  --prompt-sigma N    its σ of ln (0.5)
  --answer N          tokens that are asked for: median of a log-normal distribution (48)
  --answer-sigma N    its σ of ln (0.5)
  --temperature N     (0.8)
  --rtt MS            round trip added to each lap, kept to a tenth of a millisecond (20)
  --loss SHARE        of messages that lose a packet and come 400 ms later, 0 to 0.5 (0)
  --tabs N            each holds all experts (2)
  --pairs LIST        assignments (row × expert) a second of each tab, as 20000 or 20000,5000; further tabs have the last (as
                      fast as this machine is)
  --lap-overhead MS   of each lap in a tab, as submission and reading back take on a GPU (0)
  --max-batch N       answers written at a time (the server's default)
  --max-queue N       requests that may wait (the server's default)
  --prompt-laps N     by how many laps' time prompts may hold up streams (the server's default)
  --seed N            (1)
  --json              one JSON document on stdout instead of the table
  --help              print this
`;

const TEXT = { type: 'string' } as const;
const FLAGS = {
  rate: TEXT,
  streams: TEXT,
  seconds: TEXT,
  prompt: TEXT,
  'prompt-sigma': TEXT,
  answer: TEXT,
  'answer-sigma': TEXT,
  temperature: TEXT,
  rtt: TEXT,
  loss: TEXT,
  tabs: TEXT,
  pairs: TEXT,
  'lap-overhead': TEXT,
  'max-batch': TEXT,
  'max-queue': TEXT,
  'prompt-laps': TEXT,
  seed: TEXT,
  json: { type: 'boolean' },
} as const;

export class LoadUsageError extends Error {}

/** The default model's context is 512 tokens, shared by a prompt and its answer. */
const MAX_PROMPT_TOKENS = 200;
const MAX_ANSWER_TOKENS = 256;

/** Throws a LoadUsageError that names the flag and its range. */
export function parseLoadOptions(argv: readonly string[]): LoadOptions {
  const values = parsed(argv);
  type NumberFlag = Exclude<keyof typeof FLAGS, 'json'>;
  const number = (name: NumberFlag, fallback: number, range: Range): number =>
    numberOf(`--${name}`, values[name], fallback, range);
  const optional = (name: NumberFlag, range: Range): number | undefined =>
    values[name] === undefined ? undefined : number(name, 0, range);
  if (values.rate !== undefined && values.streams !== undefined) {
    throw new LoadUsageError('--rate and --streams are two ways of asking: give one');
  }
  const streams = optional('streams', WHOLE(1, 256));
  const lapOverheadMs = number('lap-overhead', 0, [0, 1000]);
  return {
    workload: {
      arrivals: streams === undefined ? { ratePerS: number('rate', 2, [0.01, 1000]) } : { streams },
      durationS: number('seconds', 30, [1, 3600]),
      promptTokens: {
        median: number('prompt', 24, [1, MAX_PROMPT_TOKENS]),
        sigma: number('prompt-sigma', 0.5, [0, 3]),
        min: 1,
        max: MAX_PROMPT_TOKENS,
      },
      answerTokens: {
        median: number('answer', 48, [1, MAX_ANSWER_TOKENS]),
        sigma: number('answer-sigma', 0.5, [0, 3]),
        min: 1,
        max: MAX_ANSWER_TOKENS,
      },
    },
    roundTripMs: number('rtt', 20, [0, 2000]),
    loss: number('loss', 0, [0, 0.5]),
    tabs: number('tabs', 2, WHOLE(1, 16)),
    paces: pacesOf(values.pairs, lapOverheadMs),
    maxBatch: optional('max-batch', WHOLE(1, 256)),
    promptLaps: number('prompt-laps', defaultConfig().promptLaps, WHOLE(1, 1000)),
    maxQueue: optional('max-queue', WHOLE(0, 10_000)),
    temperature: number('temperature', 0.8, [0, 2]),
    seed: number('seed', 1, WHOLE(1, Number.MAX_SAFE_INTEGER)),
    json: values.json === true,
  };
}

type Range = readonly [min: number, max: number, whole?: true];
const WHOLE = (min: number, max: number): Range => [min, max, true];

function parsed(argv: readonly string[]) {
  try {
    return parseArgs({ args: [...argv], options: FLAGS }).values;
  } catch (error) {
    throw new LoadUsageError((error as Error).message, { cause: error });
  }
}

function numberOf(flag: string, given: string | undefined, fallback: number, [min, max, whole]: Range): number {
  if (given === undefined) return fallback;
  const value = Number(given);
  const fits = given.trim() !== '' && value >= min && value <= max && (!whole || Number.isInteger(value));
  if (fits) return value;
  throw new LoadUsageError(`${flag} takes a ${whole ? 'whole ' : ''}number from ${min} to ${max}, not "${given}"`);
}

function pacesOf(given: string | undefined, lapOverheadMs: number): Pace[] {
  if (given === undefined) return [{ ...FULL_PACE, lapOverheadMs }];
  return given.split(',').map((part) => {
    const assignmentsPerSecond = numberOf('--pairs', part, Number.POSITIVE_INFINITY, [1, 1e9]);
    return { lapOverheadMs, assignmentsPerSecond };
  });
}
