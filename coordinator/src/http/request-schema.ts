import { list } from '@shoal/protocol';
import { z } from 'zod';

/** OpenAI's limit for `n` is 128. It is lower here because each choice takes a place in the batch. */
export const MAX_N = 8;
/** More than any gate chooses, so that a higher limit would have no effect. */
const MAX_DEVICE_LIMIT = 64;
/** OpenAI's limit. */
export const MAX_STOPS = 4;
/** Matching takes time in proportion for each piece of text. The longest stop strings in use are chat-template headers. */
const MAX_STOP_CHARS = 256;
/** The scheduler's limit, and OpenAI's for chat. */
export const MAX_TOP_LOGPROBS = 20;
/** Opaque labels such as `user`. */
const MAX_LABEL_CHARS = 512;

const tokenArray = list(z.number().int().min(0)).min(1);

/** A parameter that is not implemented. Values that cannot change the answer pass, and all others are refused by name. */
function neutralOnly(isNeutral: (value: unknown) => boolean, remedy: string) {
  return z
    .unknown()
    .refine((value) => value === undefined || value === null || isNeutral(value), {
      error: `this is not supported; ${remedy}.`,
    })
    .optional()
    .meta({ description: `Not supported: ${remedy}.` });
}

const zeroOnly = neutralOnly((value) => value === 0, 'leave it out or send 0');
const emptyObjectOnly = neutralOnly(
  (value) => typeof value === 'object' && !Array.isArray(value) && Object.keys(value as object).length === 0,
  'leave it out or send {}',
);
const emptyArrayOnly = neutralOnly(
  (value) => Array.isArray(value) && value.length === 0,
  'leave it out or send an empty array',
);
const falseOnly = neutralOnly((value) => value === false, 'leave it out or send false');

/** More than any vocabulary has. */
const MAX_TOP_K = 2 ** 31 - 1;

/** OpenAI's limit. */
const MAX_METADATA_ENTRIES = 16;

/** Not z.record, which looks at every entry of however many there are. */
const metadata = z
  .unknown()
  .refine(
    (value) => {
      if (typeof value !== 'object' || Array.isArray(value)) return value === undefined;
      const entries = Object.entries(value ?? {});
      return entries.length <= MAX_METADATA_ENTRIES && entries.every((entry) => entry.every(isLabel));
    },
    { error: `expected at most ${MAX_METADATA_ENTRIES} entries of strings of at most ${MAX_LABEL_CHARS} characters` },
  )
  .optional()
  .meta({ type: ['object', 'null'], additionalProperties: { type: 'string' }, description: 'Accepted; not kept.' });

function isLabel(value: unknown): boolean {
  return typeof value === 'string' && value.length <= MAX_LABEL_CHARS;
}

const stopString = z.string().min(1).max(MAX_STOP_CHARS);

const shoalExtension = z
  .strictObject({
    trace: z.boolean().optional().meta({ description: 'Report the experts and peers that served each token.' }),
    device_limit: z.number().int().min(0).max(MAX_DEVICE_LIMIT).optional().meta({
      description:
        'Tabs that a token may use in a layer (device-limited routing). It may change the answer; usage reports how often experts changed. 0: no limit, whatever the server’s default.',
    }),
    speculate: z.boolean().optional().meta({
      description: 'false: draft no tokens ahead for this answer. The answer is the same, and usually slower.',
    }),
  })
  .nullish()
  .meta({ description: 'Extension of Shoal. Not part of the OpenAI API.' });

const sampling = {
  model: z.string().min(1).max(MAX_LABEL_CHARS),
  temperature: z.number().min(0).max(2).nullish().meta({ description: '0 is greedy. Default: the model’s own.' }),
  top_p: z.number().min(0).max(1).nullish().meta({ description: 'Default: the model’s own.' }),
  top_k: z.number().int().min(-1).max(MAX_TOP_K).nullish().meta({
    description:
      'Draw from this many of the most likely tokens. 0, -1 and the default: all. Not part of the OpenAI API.',
  }),
  seed: z.number().int().nullish().meta({ description: 'The same seed and request give the same tokens.' }),
  n: z.number().int().min(1).max(MAX_N).nullish(),
  stop: z
    .union([stopString, list(stopString).max(MAX_STOPS)], {
      error: `expected a string of 1 to ${MAX_STOP_CHARS} characters, or an array of at most ${MAX_STOPS} of them`,
    })
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().nullish(),
      include_obfuscation: falseOnly,
    })
    .nullish(),
  presence_penalty: zeroOnly,
  frequency_penalty: zeroOnly,
  logit_bias: emptyObjectOnly,
  user: z.string().max(MAX_LABEL_CHARS).nullish().meta({ description: 'Accepted; does not change the answer.' }),
  shoal: shoalExtension,
};

export const completionRequestSchema = z.strictObject(
  {
    ...sampling,
    prompt: z
      .union([z.string(), list(z.string()).min(1), tokenArray, list(tokenArray).min(1)], {
        error: 'expected a string, an array of strings, an array of token ids, or an array of arrays of token ids',
      })
      .meta({ description: 'Text or token ids, or an array of either, which gives the choices of each in turn.' }),
    max_tokens: z
      .number()
      .int()
      .min(0)
      .nullish()
      .meta({ description: 'Default 16. Use 0 with echo to score a prompt.' }),
    echo: z.boolean().nullish(),
    logprobs: z.number().int().min(0).max(MAX_TOP_LOGPROBS).nullish(),
    best_of: z.number().int().nullish().meta({ description: 'Only the value of n is supported.' }),
    suffix: neutralOnly((value) => value === '', 'leave it out or send an empty string'),
  },
  { error: bodyError },
);
export type CompletionRequest = z.infer<typeof completionRequestSchema>;

const messageContent = z.union(
  [z.string(), list(z.strictObject({ type: z.literal('text'), text: z.string() })).min(1)],
  { error: 'expected a string or an array of {"type": "text", "text": …} parts; images and audio are not supported' },
);

const messageSchema = z.strictObject({
  role: z.enum(['system', 'developer', 'user', 'assistant'], {
    error: 'expected one of system, developer, user, assistant; tools are not supported',
  }),
  content: messageContent,
  name: z.string().min(1).max(MAX_LABEL_CHARS).nullish(),
  refusal: neutralOnly(() => false, 'leave it out or send null'),
  audio: neutralOnly(() => false, 'leave it out or send null'),
  annotations: emptyArrayOnly,
  tool_calls: emptyArrayOnly,
  function_call: neutralOnly(() => false, 'leave it out or send null'),
});

export const chatRequestSchema = z.strictObject(
  {
    ...sampling,
    messages: list(messageSchema).min(1),
    max_tokens: z.number().int().min(1).nullish().meta({ description: 'Older name of max_completion_tokens.' }),
    max_completion_tokens: z.number().int().min(1).nullish().meta({ description: 'Default: what the context leaves.' }),
    logprobs: z.boolean().nullish(),
    top_logprobs: z
      .number()
      .int()
      .min(0)
      .max(MAX_TOP_LOGPROBS)
      .nullish()
      .meta({ description: 'Requires logprobs: true.' }),
    response_format: neutralOnly(
      (value) => typeof value === 'object' && value !== null && 'type' in value && value.type === 'text',
      'leave it out or send {"type": "text"}',
    ),
    tools: emptyArrayOnly,
    tool_choice: neutralOnly((value) => value === 'none' || value === 'auto', 'leave it out or send "none"'),
    parallel_tool_calls: z.boolean().nullish().meta({ description: 'Accepted; without tools it has no effect.' }),
    functions: emptyArrayOnly,
    function_call: neutralOnly((value) => value === 'none' || value === 'auto', 'leave it out or send "none"'),
    modalities: neutralOnly(
      (value) => Array.isArray(value) && value.length === 1 && value[0] === 'text',
      'leave it out or send ["text"]',
    ),
    audio: neutralOnly(() => false, 'leave it out or send null'),
    prediction: neutralOnly(() => false, 'leave it out or send null'),
    reasoning_effort: neutralOnly((value) => value === 'none', 'leave it out or send "none"'),
    verbosity: neutralOnly((value) => value === 'medium', 'leave it out or send "medium"'),
    web_search_options: neutralOnly(() => false, 'leave it out or send null'),
    store: falseOnly,
    service_tier: neutralOnly((value) => value === 'auto' || value === 'default', 'leave it out or send "auto"'),
    metadata,
    safety_identifier: z.string().max(MAX_LABEL_CHARS).nullish(),
    prompt_cache_key: z.string().max(MAX_LABEL_CHARS).nullish(),
  },
  { error: bodyError },
);
export type ChatRequest = z.infer<typeof chatRequestSchema>;

/** The message for a body that is missing or not an object. Other issues keep their own messages. */
function bodyError(issue: { code?: string | undefined }): string | undefined {
  return issue.code === 'invalid_type' ? 'The request body must be a JSON object.' : undefined;
}
