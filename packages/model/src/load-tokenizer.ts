import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type JsonText, parseJson, readJson, readJsonText } from './checkpoint.ts';
import { ModelError } from './errors.ts';
import { Tokenizer } from './tokenizer.ts';

/** What a tokenizer is made from, as read. Can be sent to another thread, which then makes the same one. */
export interface TokenizerFiles {
  tokenizer: JsonText;
  config: JsonText;
  /** Overrides the template in `config`. */
  template: string | undefined;
}

/** Reads the tokenizer's files of a Hugging Face model directory, among them `chat_template.jinja` where there is one. */
export async function readTokenizerFiles(dir: string): Promise<TokenizerFiles> {
  return {
    tokenizer: await readJsonText(join(dir, 'tokenizer.json')),
    config: await readJsonText(join(dir, 'tokenizer_config.json')),
    template: await readIfPresent(join(dir, 'chat_template.jinja')),
  };
}

/** Throws a ModelError where the files are not supported. */
export function tokenizerFrom({ tokenizer, config, template }: TokenizerFiles): Tokenizer {
  const parsed = parseJson(config);
  const isObject = typeof parsed === 'object' && parsed !== null;
  return new Tokenizer(
    parseJson(tokenizer),
    template !== undefined && isObject ? { ...parsed, chat_template: template } : parsed,
  );
}

/** Loads the tokenizer of a Hugging Face model directory. */
export async function loadTokenizer(dir: string): Promise<Tokenizer> {
  return tokenizerFrom(await readTokenizerFiles(dir));
}

/** The sampling parameters that a model's authors suggest; undefined where they suggest none. */
export interface GenerationConfig {
  doSample: boolean;
  temperature: number | undefined;
  topP: number | undefined;
  /** Override config.json's. */
  eosTokenIds: number[] | undefined;
}

const generationSchema = z.looseObject({
  do_sample: z.boolean().default(false),
  temperature: z.number().min(0).optional(),
  top_p: z.number().min(0).max(1).optional(),
  eos_token_id: z.union([z.int().min(0), z.array(z.int().min(0)).min(1)]).optional(),
});

/** Loads `generation_config.json` of a model directory, which may be absent. */
export async function loadGenerationConfig(dir: string): Promise<GenerationConfig> {
  const path = join(dir, 'generation_config.json');
  const parsed = generationSchema.safeParse((await readIfPresent(path)) === undefined ? {} : await readJson(path));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const key = issue.path.join('.');
    throw new ModelError('bad-value', key, `${path}: ${key}: ${issue.message}`);
  }
  const { do_sample: doSample, temperature, top_p: topP, eos_token_id: eos } = parsed.data;
  return { doSample, temperature, topP, eosTokenIds: typeof eos === 'number' ? [eos] : eos };
}

async function readIfPresent(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
