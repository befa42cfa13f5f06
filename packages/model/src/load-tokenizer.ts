import { join } from 'node:path';
import { z } from 'zod';
import { ModelError } from './errors.ts';
import { type JsonText, parseJson, readJsonText, readText, readTextIfPresent } from './json-file.ts';
import { fromTiktoken, tokenizerSource } from './tiktoken-model.ts';
import { Tokenizer } from './tokenizer.ts';

/** What a tokenizer is made from, as read. Can be sent to another thread, which then makes the same one. */
export interface TokenizerFiles {
  tokenizer: JsonText;
  config: JsonText;
  /** Overrides the template in `config`. */
  template: string | undefined;
}

/**
 * Reads the tokenizer's files of a Hugging Face model directory, among them `chat_template.jinja` where there is one. A
 * `tiktoken.model` is converted where there is no `tokenizer.json`.
 */
export async function readTokenizerFiles(dir: string): Promise<TokenizerFiles> {
  const path = join(dir, 'tokenizer.json');
  const json = await readTextIfPresent(path);
  const tiktoken = json === undefined ? await readTextIfPresent(join(dir, 'tiktoken.model')) : undefined;
  // The error for neither file is about the one that most models have.
  const text = json ?? tiktoken ?? (await readText(path));
  const config = await readJsonText(join(dir, 'tokenizer_config.json'));
  return {
    tokenizer: tiktoken === undefined ? { path, text } : await convertedTiktoken(dir, tiktoken, config),
    config,
    // Python reads its lines so, whichever system wrote them.
    template: (await readTextIfPresent(join(dir, 'chat_template.jinja')))?.replace(/\r\n?/g, '\n'),
  };
}

async function convertedTiktoken(dir: string, text: string, config: JsonText): Promise<JsonText> {
  const path = join(dir, 'tiktoken.model');
  const configJson = parseJson(config);
  const name = tokenizerSource(configJson);
  const sourcePath = join(dir, name ?? '');
  const source = name === undefined ? undefined : await readTextIfPresent(sourcePath);
  const converted = fromTiktoken(
    { path, text },
    configJson,
    source === undefined ? undefined : { path: sourcePath, text: source },
  );
  return { path, text: JSON.stringify(converted) };
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

/** The sampling parameters that a model's authors suggest; undefined where they suggest none, or one without effect. */
export interface GenerationConfig {
  /** False where the authors want greedy decoding; transformers takes an absent key for that too, other servers don't. */
  doSample: boolean;
  temperature: number | undefined;
  topP: number | undefined;
  topK: number | undefined;
  minP: number | undefined;
  repetitionPenalty: number | undefined;
  /** Override config.json's. */
  eosTokenIds: number[] | undefined;
}

/** Some tools write -1 for none, or leave holes in a list. */
const eosTokenId = z.int().min(-1).nullable();

/** What the API takes, and the engine holds. */
const MAX_TOP_K = 2 ** 31 - 1;

/** Keys are often null, which is as if they were absent. */
const generationSchema = z.looseObject({
  do_sample: z.boolean().nullish(),
  temperature: z.number().min(0).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: z.int().max(MAX_TOP_K).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  eos_token_id: z.union([eosTokenId, z.array(eosTokenId)]).optional(),
});

/** Loads `generation_config.json` of a model directory, which may be absent. */
export async function loadGenerationConfig(dir: string): Promise<GenerationConfig> {
  const path = join(dir, 'generation_config.json');
  const text = await readTextIfPresent(path);
  const parsed = generationSchema.safeParse(text === undefined ? {} : parseJson({ path, text }));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const key = issue.path.join('.');
    throw new ModelError('bad-value', key, `${path}: ${key || 'the file'}: ${issue.message}`);
  }
  const { do_sample, temperature, top_p, top_k, min_p, repetition_penalty, eos_token_id } = parsed.data;
  const ends = new Set([eos_token_id].flat().filter((id): id is number => typeof id === 'number' && id >= 0));
  return {
    doSample: do_sample ?? true,
    temperature: temperature ?? undefined,
    topP: top_p ?? undefined,
    // As other servers read it: 0 and -1 mean all tokens.
    topK: top_k !== undefined && top_k !== null && top_k > 0 ? top_k : undefined,
    minP: min_p || undefined,
    repetitionPenalty: repetition_penalty === 1 ? undefined : (repetition_penalty ?? undefined),
    eosTokenIds: ends.size > 0 ? [...ends] : undefined,
  };
}
