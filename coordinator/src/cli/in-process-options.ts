import { readFile } from 'node:fs/promises';
import { parseArgs, type ParseArgsConfig } from 'node:util';
import type { DenseEngineName } from '../dense-engine.ts';
import { MAX_THREADS } from '../config.ts';

export type LocalCommand = 'generate' | 'perplexity' | 'logits';

/** A command line that cannot be run as it stands. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Text given on the command line or in ids; exactly one source. */
export type PromptSource =
  { kind: 'text'; text: string } | { kind: 'ids'; ids: number[] } | { kind: 'file'; path: string };

export interface LocalOptions {
  help: boolean;
  model: string;
  json: boolean;
  engine: DenseEngineName;
  /** Of the wasm engine; as many as cores by default. */
  threads: number | undefined;
  prompt: PromptSource | undefined;
  maxTokens: number;
  temperature: number;
  topP: number;
  seed: number;
  file: string | undefined;
  out: string | undefined;
  /** Tabs a token may use in a layer, on the placement of that file; perplexity only. */
  deviceLimit: { maxPeers: number; placement: string } | undefined;
}

/** A prompt or text from a file is read whole: more than any context holds, but not so much that a mistaken path fills memory. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024;
const DEFAULT_MAX_TOKENS = 128;

const prompt = {
  prompt: { type: 'string' },
  ids: { type: 'string' },
  'prompt-file': { type: 'string' },
} as const;
const common = {
  model: { type: 'string' },
  engine: { type: 'string' },
  threads: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

const ENGINE_HELP = `  --engine NAME       wasm (default: WebAssembly on threads, f16 weights and KV cache) or reference (float32, slow)
  --threads N         threads of the wasm engine (default: as many as cores)
`;

const flags = {
  generate: {
    ...common,
    ...prompt,
    'max-tokens': { type: 'string' },
    temperature: { type: 'string' },
    'top-p': { type: 'string' },
    seed: { type: 'string' },
  },
  perplexity: {
    ...common,
    file: { type: 'string' },
    'device-limit': { type: 'string' },
    placement: { type: 'string' },
  },
  logits: { ...common, ...prompt, out: { type: 'string' } },
} as const satisfies Record<LocalCommand, ParseArgsConfig['options']>;

export const help: Readonly<Record<LocalCommand, string>> = {
  generate: `usage: shoal generate --model DIR (--prompt TEXT | --ids 1,2,3 | --prompt-file FILE) [options]

Continue a text in this process, without any tab.

  --model DIR         directory with config.json, model.safetensors and tokenizer.json
  --prompt TEXT       what to continue; the begin-of-text token is added where the model wants one
  --ids 1,2,3         token ids instead, taken exactly as they are
  --prompt-file FILE  a UTF-8 file instead
  --max-tokens N      at most this many tokens (default ${DEFAULT_MAX_TOKENS}, and never more than the context holds)
  --temperature T     0 (default) always takes the most probable token
  --top-p P           sample from the most probable tokens that hold this probability (default 1)
  --seed N            any integer; the same seed gives the same text (default 0)
${ENGINE_HELP}  --json              print one JSON document instead of the text
`,
  perplexity: `usage: shoal perplexity --model DIR --file TEXTFILE [--device-limit M --placement FILE] [options]

How well the model predicts a text: exp of the mean negative log-likelihood per token. Documents are separated by the model's
end-of-text token as text, trimmed, and scored as <bos> document <eos>, every token but <bos> counted; one longer than the
context is scored in windows, each from a fresh <bos>.

  --device-limit M    let a token use at most M tabs in a layer (device-limited routing, DeepSeek-V2), and say what that costs
  --placement FILE    where the experts lie, as JSON: {"tabs": {"name": {"1": [0, 1, 2, …], "2": […]}}}; an expert that no tab
                      has is the coordinator's, and free
${ENGINE_HELP}`,
  logits: `usage: shoal logits --model DIR (--prompt TEXT | --ids 1,2,3 | --prompt-file FILE) --out FILE [options]

Write the logits of every position as raw little-endian float32, [positions, vocab], row-major.
With --ids the ids are taken exactly as they are; text gets the begin-of-text token where the model wants one.

${ENGINE_HELP}`,
};

function engineName(given: string): DenseEngineName {
  if (given === 'wasm' || given === 'reference') return given;
  throw new UsageError(`--engine takes wasm or reference, not "${given}"`);
}

function parseThreads(given: string | undefined): number {
  return parseNumber('--threads', given, 1, { integer: true, min: 1, max: MAX_THREADS });
}

/** Throws a UsageError naming the flag. */
export function parseLocalOptions(command: LocalCommand, argv: string[]): LocalOptions {
  const values = parseFlags(command, argv);
  const given = (key: string) => values[key] as string | undefined;
  const options: LocalOptions = {
    help: values['help'] === true,
    model: given('model') ?? '',
    json: values['json'] === true,
    engine: engineName(given('engine') ?? 'wasm'),
    threads: given('threads') === undefined ? undefined : parseThreads(given('threads')),
    prompt: promptSource(given('prompt'), given('ids'), given('prompt-file')),
    maxTokens: parseNumber('--max-tokens', given('max-tokens'), DEFAULT_MAX_TOKENS, { integer: true, min: 1 }),
    temperature: parseNumber('--temperature', given('temperature'), 0, { min: 0, max: 100 }),
    topP: parseNumber('--top-p', given('top-p'), 1, { min: 0, max: 1 }),
    seed: parseNumber('--seed', given('seed'), 0, { integer: true }),
    file: given('file'),
    out: given('out'),
    deviceLimit: deviceLimit(given('device-limit'), given('placement')),
  };
  if (!options.help) requireFlags(command, options);
  return options;
}

function requireFlags(command: LocalCommand, options: LocalOptions): void {
  if (options.model === '') throw new UsageError('--model DIR is missing');
  if (command !== 'perplexity' && !options.prompt)
    throw new UsageError('one of --prompt, --ids or --prompt-file is missing');
  if (command === 'perplexity' && options.file === undefined) throw new UsageError('--file TEXTFILE is missing');
  if (command === 'logits' && options.out === undefined) throw new UsageError('--out FILE is missing');
}

function deviceLimit(limit: string | undefined, placement: string | undefined): LocalOptions['deviceLimit'] {
  if (limit === undefined && placement === undefined) return undefined;
  if (limit === undefined || placement === undefined) {
    throw new UsageError('--device-limit and --placement go together: a limit is on the tabs of a placement');
  }
  return { maxPeers: parseNumber('--device-limit', limit, 0, { integer: true, min: 1 }), placement };
}

function parseFlags(command: LocalCommand, argv: string[]): Record<string, unknown> {
  try {
    return parseArgs({ args: argv, options: flags[command], strict: true, allowPositionals: false }).values;
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

function promptSource(
  text: string | undefined,
  ids: string | undefined,
  path: string | undefined,
): PromptSource | undefined {
  if ([text, ids, path].filter((source) => source !== undefined).length > 1) {
    throw new UsageError('--prompt, --ids and --prompt-file exclude each other');
  }
  if (text !== undefined) return { kind: 'text', text };
  if (ids !== undefined) return { kind: 'ids', ids: parseIds(ids) };
  return path === undefined ? undefined : { kind: 'file', path };
}

function parseIds(text: string): number[] {
  return text.split(',').map((part) => {
    const id = part.trim();
    if (!/^\d{1,9}$/.test(id))
      throw new UsageError(`--ids: ${JSON.stringify(id)} is not a token id; write them as 1,2,3`);
    return Number(id);
  });
}

function parseNumber(
  flag: string,
  text: string | undefined,
  fallback: number,
  {
    integer = false,
    min = Number.NEGATIVE_INFINITY,
    max = Number.POSITIVE_INFINITY,
  }: { integer?: boolean; min?: number; max?: number },
): number {
  if (text === undefined) return fallback;
  const value = text.trim() === '' ? Number.NaN : Number(text);
  const fits = integer ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (fits && value >= min && value <= max) return value;
  const range = Number.isFinite(max) ? ` from ${min} to ${max}` : Number.isFinite(min) ? ` from ${min} on` : '';
  throw new UsageError(`${flag} ${JSON.stringify(text)} is not ${integer ? 'an integer' : 'a number'}${range}`);
}

/** A UTF-8 file of bounded size; throws an Error that names it. */
export async function readText(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new Error(`${path}: cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, { cause });
  }
  if (bytes.byteLength > MAX_TEXT_BYTES)
    throw new Error(`${path}: ${bytes.byteLength} bytes; at most ${MAX_TEXT_BYTES} are read`);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error(`${path}: not UTF-8 text`, { cause });
  }
}
