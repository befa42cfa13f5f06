import { z } from 'zod';
import { ModelError } from './errors.ts';
import { type JsonText, parseJson } from './json-file.ts';
import { type ModelFolder, requiredText, textIn } from './model-folder.ts';
import { fromTiktoken, TIKTOKEN_FILES, tokenizerSource } from './tiktoken-model.ts';
import { Tokenizer } from './tokenizer.ts';

/** What a tokenizer is made from, as read. Can be sent to another thread, which then makes the same one. */
export interface TokenizerFiles {
  tokenizer: JsonText;
  config: JsonText;
  /** Overrides the template in `config`. */
  template: string | undefined;
}

/**
 * Reads a model's files of its tokenizer, among them `chat_template.jinja` where there is one. A `tiktoken.model` or
 * `hy.tiktoken` is converted where there is no `tokenizer.json`.
 */
export async function readTokenizerFiles(folder: ModelFolder): Promise<TokenizerFiles> {
  const json = await textIn(folder, 'tokenizer.json');
  const tiktoken = json ? undefined : await readTiktoken(folder);
  // The error for none of these files is about the one that most models have.
  const vocabulary = json ?? tiktoken?.text ?? (await requiredText(folder, 'tokenizer.json'));
  const config = await requiredText(folder, 'tokenizer_config.json');
  return {
    tokenizer: tiktoken === undefined ? vocabulary : await convertedTiktoken(folder, tiktoken, config),
    config,
    // Python reads its lines so, whichever system wrote them.
    template: (await textIn(folder, 'chat_template.jinja'))?.text.replace(/\r\n?/g, '\n'),
  };
}

interface TiktokenText {
  /** One of `TIKTOKEN_FILES`. */
  file: string;
  text: JsonText;
}

async function readTiktoken(folder: ModelFolder): Promise<TiktokenText | undefined> {
  for (const file of TIKTOKEN_FILES) {
    const text = await textIn(folder, file);
    if (text) return { file, text };
  }
  return undefined;
}

async function convertedTiktoken(
  folder: ModelFolder,
  { file, text }: TiktokenText,
  config: JsonText,
): Promise<JsonText> {
  const configJson = parseJson(config);
  const name = tokenizerSource(configJson);
  const source = name === undefined ? undefined : await textIn(folder, name);
  return { path: text.path, text: JSON.stringify(fromTiktoken(file, text, configJson, source)) };
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

/** Loads a model's tokenizer. */
export async function loadTokenizer(folder: ModelFolder): Promise<Tokenizer> {
  return tokenizerFrom(await readTokenizerFiles(folder));
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

/** Loads a model's `generation_config.json`, which may be absent. */
export async function loadGenerationConfig(folder: ModelFolder): Promise<GenerationConfig> {
  const file = await textIn(folder, 'generation_config.json');
  const parsed = generationSchema.safeParse(file ? parseJson(file) : {});
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const key = issue.path.join('.');
    throw new ModelError('bad-value', key, `${file!.path}: ${key || 'the file'}: ${issue.message}`);
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
