import { parseArgs } from 'node:util';

const NETWORK_PARTS = [
  'one-stream',
  'first-tokens',
  'speculation',
  'cold-start',
  'drafted-streams',
  'drafters',
  'trees',
  'many-streams',
  'overlap',
  'loop',
  'soak',
] as const;
export type NetworkPart = (typeof NETWORK_PARTS)[number];

export interface NetworkOptions {
  repeats: number;
  parts: readonly NetworkPart[];
  soakMinutes: number;
  json: boolean;
}

export const NETWORK_HELP = `npm run bench -- network [options]

Laps over a network of 0, 5, 20 and 50 ms: time per token beside its floor, many streams beside one, bytes, the event loop,
memory. Every figure with its target beside it.

  --parts LIST     of ${NETWORK_PARTS.join(', ')} (all)
  --repeats N      measurements of each figure, of which the median counts (3)
  --soak MINUTES   how long memory is watched (1)
  --json           one JSON document on stdout instead of the table
  --help           print this
`;

export class NetworkUsageError extends Error {}

/** Throws a NetworkUsageError that names the flag. */
export function parseNetworkOptions(argv: readonly string[]): NetworkOptions {
  const values = parsed(argv);
  const parts = (values.parts ?? NETWORK_PARTS.join()).split(',');
  const unknown = parts.find((part) => !NETWORK_PARTS.includes(part as NetworkPart));
  if (unknown !== undefined) throw new NetworkUsageError(`--parts knows ${NETWORK_PARTS.join(', ')}, not "${unknown}"`);
  return {
    repeats: numberOf('--repeats', values.repeats, 3, 1, 100),
    parts: NETWORK_PARTS.filter((part) => parts.includes(part)),
    soakMinutes: numberOf('--soak', values.soak, 1, 0.1, 600),
    json: values.json === true,
  };
}

function parsed(argv: readonly string[]) {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args: [...argv],
      options: { parts: text, repeats: text, soak: text, json: { type: 'boolean' } },
    }).values;
  } catch (error) {
    throw new NetworkUsageError((error as Error).message, { cause: error });
  }
}

function numberOf(flag: string, given: string | undefined, fallback: number, min: number, max: number): number {
  const value = given === undefined ? fallback : Number(given);
  if (value >= min && value <= max && (flag !== '--repeats' || Number.isInteger(value))) return value;
  throw new NetworkUsageError(`${flag} takes a number from ${min} to ${max}, not "${given}"`);
}
