import { MAX_TOP_LOGPROBS } from '@shoal/model';
import { anyInteger, ignored, isPlainObject, list, MAX_LABEL_CHARS, only, plainObject, z } from './fields.ts';

/** OpenAI's limit. Prompts × n of a request has a limit of its own. */
export const MAX_N = 128;
/** OpenAI allows 4; editors and evaluation harnesses send up to 32. */
export const MAX_STOPS = 32;
/** Matching takes time in proportion for each piece of text. The longest stop strings in use are chat-template headers. */
const MAX_STOP_CHARS = 256;
/** More than any gate chooses, so that a higher limit would have no effect. */
const MAX_DEVICE_LIMIT = 64;
/** More than any vocabulary has. */
const MAX_TOKEN_ID = 2 ** 31 - 1;
/** OpenAI's clients send a few dozen; llama.cpp's bans of whole word lists have hundreds. */
const MAX_BIASES = 1_024;
const MAX_STOP_TOKENS = 128;
/** Longest list of answers to choose from. */
const MAX_CHOICES = 4_096;

export const stopString = z.string().max(MAX_STOP_CHARS);

/** Longer than any code. */
const language = z.string().max(32).optional();

export const shoalExtension = z
  .strictObject({
    trace: z.boolean().optional().meta({ description: 'Report the experts and peers that served each token.' }),
    device_limit: z.number().int().min(0).max(MAX_DEVICE_LIMIT).optional().meta({
      description:
        'Tabs that a token may use in a layer (device-limited routing). It may change the answer; usage reports how often experts changed. 0: no limit, whatever the server’s default.',
    }),
    speculate: z.boolean().optional().meta({
      description: 'false: draft no tokens ahead for this answer. The answer is the same, and usually slower.',
    }),
    source_language: language.meta({
      description: 'Of a model with languages (NLLB): what the text is in, as FLORES-200 codes it. Default: eng_Latn.',
    }),
    target_language: language.meta({
      description:
        'The same of the answer. Needed unless the text begins with the codes of both, as "eng_Latn fra_Latn …".',
    }),
  })
  .nullish()
  .meta({ description: 'Extension of Shoal. Not part of the OpenAI API.' });

const number = (least: number, most: number, description: string) =>
  z.number().min(least).max(most).nullish().meta({ description });

/** As an object by token id, as OpenAI has it, or as llama.cpp's list of pairs; `false` stands for never. */
const logitBias = z
  .unknown()
  .refine((value) => value === undefined || value === null || biasesOf(value) !== undefined, {
    error: `expected an object of at most ${MAX_BIASES} token ids with numbers from -100 to 100`,
  })
  .optional()
  .meta({
    type: ['object', 'null'],
    additionalProperties: { type: 'number' },
    description: 'Added to the logits of tokens, by token id. -100 forbids a token.',
  });

/** With this bias below zero a token is forbidden, as OpenAI's documentation says; above, it is added like any other. */
const ABSOLUTE_BIAS = 100;

/** Undefined if the value is not what a logit_bias may be. */
export function biasesOf(value: unknown): Map<number, number> | undefined {
  if (!Array.isArray(value) && !isPlainObject(value)) return undefined;
  if (Array.isArray(value) && value.length > MAX_BIASES) return undefined;
  const entries: unknown[] = Array.isArray(value) ? value : Object.entries(value);
  if (entries.length > MAX_BIASES) return undefined;
  const biases = new Map<number, number>();
  for (const entry of entries) {
    if (!Array.isArray(entry) || entry.length !== 2) return undefined;
    const [token, bias] = entry as [unknown, unknown];
    const id = typeof token === 'string' && /^\d{1,10}$/.test(token) ? Number(token) : token;
    const amount = bias === false ? -ABSOLUTE_BIAS : bias;
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > MAX_TOKEN_ID) return undefined;
    if (typeof amount !== 'number' || Math.abs(amount) > ABSOLUTE_BIAS) return undefined;
    biases.set(id, amount === -ABSOLUTE_BIAS ? -Infinity : amount);
  }
  return biases;
}

const GUIDED = 'Extension of vLLM: the answer fits it. Same as structured_outputs.';

/** What an answer must fit, as vLLM and llama.cpp ask for it. At most one of all may be sent. */
const structuredFields = {
  json: z.union([z.string(), z.boolean(), plainObject]).nullish(),
  regex: z.string().nullish(),
  choice: list(z.string()).min(1).max(MAX_CHOICES).nullish(),
  grammar: z.string().nullish(),
  json_object: z.boolean().nullish(),
};

export const structuredOutputs = z
  .object({ ...structuredFields, structural_tag: only(() => false, 'use tools, or grammar') })
  .nullish()
  .meta({
    description: 'Extension of vLLM: the answer fits a JSON Schema, a regex, one of some choices or a grammar.',
  });

const responseFormat = z
  .object({
    type: z.enum(['text', 'json_object', 'json_schema'], { error: 'expected "text", "json_object" or "json_schema"' }),
    json_schema: z
      .object({
        name: z.string().max(MAX_LABEL_CHARS).nullish(),
        description: z.string().nullish(),
        schema: plainObject.nullish(),
        strict: z.boolean().nullish(),
      })
      .nullish(),
    schema: plainObject.nullish().meta({ description: 'With type json_object, as llama.cpp takes it.' }),
  })
  .nullish();

const structured = {
  response_format: responseFormat.meta({ description: 'The answer is JSON, and fits the schema if there is one.' }),
  structured_outputs: structuredOutputs,
  guided_json: structuredFields.json.meta({ description: GUIDED }),
  guided_regex: structuredFields.regex.meta({ description: GUIDED }),
  guided_choice: structuredFields.choice.meta({ description: GUIDED }),
  guided_grammar: structuredFields.grammar.meta({ description: GUIDED }),
  guided_decoding_backend: ignored,
  guided_whitespace_pattern: ignored,
  json_schema: plainObject.nullish().meta({ description: 'Extension of llama.cpp: the answer fits this JSON Schema.' }),
  grammar: z.string().nullish().meta({ description: 'Extension of llama.cpp: the answer fits this GBNF grammar.' }),
};

/** Which tokens are drawn, and when an answer ends. */
export const drawing = {
  temperature: number(0, 2, '0 is greedy. Default: the model’s own.'),
  top_p: number(0, 1, 'Default: the model’s own.'),
  top_k: z.number().int().min(-1).max(MAX_TOKEN_ID).nullish().meta({
    description: 'Draw from this many of the most likely tokens. 0 and -1: all. Default: the model’s own.',
  }),
  min_p: number(0, 1, 'Drop tokens less likely than this share of the most likely one. Default: the model’s own.'),
  seed: anyInteger
    .nullish()
    .meta({ description: 'The same seed and request give the same tokens. -1: another each time.' }),
  presence_penalty: number(-2, 2, 'Subtracted from the logits of tokens that the answer has already.'),
  frequency_penalty: number(-2, 2, 'The same, once for each time that the answer has the token.'),
  repetition_penalty: z.number().gt(0).max(10).nullish().meta({
    description: 'Above 1: tokens of prompt and answer become less likely. Default: the model’s own.',
  }),
  repeat_penalty: z.number().gt(0).max(10).nullish().meta({ description: 'llama.cpp’s name of repetition_penalty.' }),
  logit_bias: logitBias,
  ignore_eos: z.boolean().nullish().meta({ description: 'Never end before max_tokens.' }),
  min_tokens: z.number().int().min(0).nullish().meta({ description: 'Do not end before the answer has this many.' }),
  stop: z
    .union([stopString, list(stopString).max(MAX_STOPS)], {
      error: `expected a string of at most ${MAX_STOP_CHARS} characters, or an array of at most ${MAX_STOPS} of them`,
    })
    .nullish(),
  stop_token_ids: list(z.number().int().min(0).max(MAX_TOKEN_ID))
    .max(MAX_STOP_TOKENS)
    .nullish()
    .meta({ description: 'These tokens end the answer too.' }),
  include_stop_str_in_output: z
    .boolean()
    .nullish()
    .meta({ description: 'Keep the stop string that ended the answer.' }),
  skip_special_tokens: z
    .boolean()
    .nullish()
    .meta({ description: 'false: show special tokens as text. Default: true.' }),
};

export const model = z
  .string()
  .max(MAX_LABEL_CHARS)
  .nullish()
  .meta({ description: 'Default: the model that is served.' });

export const templateKwargs = plainObject.nullish().meta({
  description: 'Variables of the chat template, such as {"enable_thinking": false}.',
});
export const olderLimit = z.number().int().min(-1).nullish().meta({ description: 'llama.cpp’s name of max_tokens.' });

/** The parameters of both endpoints. */
export const sampling = {
  model,
  ...drawing,
  ...structured,
  n: z.number().int().min(1).max(MAX_N).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .object({
      include_usage: z.boolean().nullish(),
      continuous_usage_stats: z.boolean().nullish().meta({ description: 'Usage so far in every chunk.' }),
    })
    .nullish()
    .meta({ description: 'Without stream it has no effect.' }),
  prompt_logprobs: z.number().int().min(0).max(MAX_TOP_LOGPROBS).nullish().meta({
    description: 'Extension of vLLM: log-probabilities of the prompt’s tokens, with so many alternatives.',
  }),
  truncate_prompt_tokens: z.number().int().min(-1).nullish().meta({
    description: 'Keep only the last so many tokens of the prompt; -1: as many as the context holds.',
  }),
  truncation_side: z.enum(['left', 'right']).nullish().meta({
    description: 'right: keep the first tokens instead. Default: left.',
  }),
  return_token_ids: z.boolean().nullish().meta({
    description: 'Extension of vLLM: the token ids of the prompt and of the answer’s text.',
  }),
  return_tokens_as_token_ids: z.boolean().nullish().meta({
    description: 'Extension of vLLM: log-probabilities name tokens as `token_id:7`.',
  }),
  use_beam_search: only((value) => value === false, 'leave it out or send false'),
  user: ignored,
  metadata: ignored,
  store: ignored,
  service_tier: ignored,
  priority: ignored,
  request_id: ignored,
  cache_prompt: ignored,
  safety_identifier: ignored,
  prompt_cache_key: ignored,
  prompt_cache_retention: ignored,
  spaces_between_special_tokens: ignored,
  length_penalty: ignored,
  early_stopping: ignored,
  shoal: shoalExtension,
};
