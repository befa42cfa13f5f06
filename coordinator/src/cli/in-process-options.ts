import { readFile } from 'node:fs/promises';
import { decimal, integer, SWITCH, text } from '../base/option-values.ts';
import { option, type OptionValues } from '../base/options.ts';
import { UsageError } from '../base/usage-error.ts';
import { CONFIG_OPTIONS } from '../config.ts';
import { MODEL_OPTIONS } from './model-option.ts';

/** More than any context holds, but not so much that a mistaken path fills memory. */
const MAX_TEXT_BYTES = 64 * 1024 * 1024;

const COMMON = {
  ...MODEL_OPTIONS,
  engine: {
    ...CONFIG_OPTIONS.engine,
    help: 'WebAssembly on threads with f16 weights and KV cache, or the slow float32',
  },
  threads: { ...CONFIG_OPTIONS.threads, help: 'threads of the wasm engine' },
  json: option('json', SWITCH, { help: 'print one JSON document' }),
};

const PROMPT = {
  prompt: option('prompt', text('TEXT'), { help: 'text; the begin-of-text token is added where the model wants one' }),
  ids: option('ids', { value: '1,2,3', parse: parseIds }, { help: 'token ids instead, used exactly as given' }),
  promptFile: option('prompt-file', text('FILE'), { help: 'a UTF-8 file instead' }),
};

export const GENERATE_OPTIONS = {
  ...COMMON,
  ...PROMPT,
  sourceLanguage: option('source-language', text('CODE'), {
    help: 'of a model that translates: what the text is in, as eng_Latn',
  }),
  targetLanguage: option('target-language', text('CODE'), { help: 'and what it is translated into, as fra_Latn' }),
  maxTokens: option('max-tokens', integer(1), {
    default: '128',
    help: 'tokens to generate at most, within what the context holds',
  }),
  temperature: option('temperature', decimal('T', 0, 100), {
    default: '0',
    help: '0 always takes the most probable token',
  }),
  topP: option('top-p', decimal('P', 0, 1), {
    default: '1',
    help: 'sample from the most probable tokens that together have this probability',
  }),
  seed: option('seed', integer(Number.MIN_SAFE_INTEGER), {
    default: '0',
    help: 'any integer; the same seed gives the same text',
  }),
};

export const PERPLEXITY_OPTIONS = {
  ...COMMON,
  file: option('file', text('TEXTFILE'), { required: true, help: 'the text to score' }),
  deviceLimit: option('device-limit', integer(1), {
    help: 'also score with at most N tabs per token and layer (device-limited routing, DeepSeek-V2)',
  }),
  placement: option('placement', text('FILE'), {
    help: 'where the experts are, as JSON: {"tabs": {"name": {"1": [0, 1, 2, …]}}}; experts on no tab are the coordinator\'s',
  }),
};

export const LOGITS_OPTIONS = {
  ...COMMON,
  ...PROMPT,
  out: option('out', text('FILE'), { required: true, help: 'the file to write' }),
};

export type PromptOptions = OptionValues<typeof PROMPT>;

function parseIds(given: string): number[] {
  return given.split(',').map((part) => {
    const id = part.trim();
    if (/^\d{1,9}$/.test(id)) return Number(id);
    throw new UsageError(`takes token ids as 1,2,3, and ${JSON.stringify(id)} is not one`);
  });
}

/** Reads a UTF-8 file of at most MAX_TEXT_BYTES. Throws an Error that names it. */
export async function readText(path: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new Error(`${path}: cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, { cause });
  }
  if (bytes.byteLength > MAX_TEXT_BYTES) {
    throw new Error(`${path} has ${bytes.byteLength} bytes, and at most ${MAX_TEXT_BYTES} can be read`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error(`${path} is not UTF-8 text`, { cause });
  }
}
