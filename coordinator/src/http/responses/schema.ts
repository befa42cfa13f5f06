import { MAX_TOP_LOGPROBS } from '@shoal/model';
import { MAX_NAME_CHARS, MAX_TOOLS, reasoningEffort } from '../requests/chat-schema.ts';
import { bodyError, ignored, isPlainObject, list, MAX_LABEL_CHARS, only, plainObject, z } from '../requests/fields.ts';
import { drawing, model, shoalExtension, structuredOutputs, templateKwargs } from '../requests/sampling-schema.ts';

const TEXT_ONLY = 'this model reads text only; images, audio and files are not supported';
/** OpenAI's limits of metadata. */
const MAX_METADATA = { entries: 16, keyChars: 64, valueChars: 512 };
/** OpenAI has eight values. */
const MAX_INCLUDED = 32;

const part = z.object({
  type: z.enum(['input_text', 'output_text', 'text', 'refusal', 'summary_text', 'reasoning_text'], {
    error: `expected "input_text" or "output_text"; ${TEXT_ONLY}`,
  }),
  text: z.string().nullish(),
  refusal: z.string().nullish(),
});
export type ItemPart = z.infer<typeof part>;

const content = z.union([z.string(), list(part)], {
  error: `expected a string or an array of {"type": "input_text", "text": …} parts; ${TEXT_ONLY}`,
});

const label = z.string().min(1).max(MAX_LABEL_CHARS);
const name = z.string().min(1).max(MAX_NAME_CHARS);

/** The items of all types. What a type requires beside its name is checked where it is read. */
const item = z.object({
  type: z
    .enum(['message', 'function_call', 'function_call_output', 'reasoning', 'item_reference'], {
      error: 'expected one of message, function_call, function_call_output, reasoning, item_reference',
    })
    .nullish()
    .meta({ description: 'Default: message, or item_reference without a role.' }),
  id: label.nullish(),
  role: z
    .enum(['user', 'assistant', 'system', 'developer'], {
      error: 'expected one of user, assistant, system, developer',
    })
    .nullish(),
  content: content.nullish(),
  call_id: label.nullish(),
  name: name.nullish(),
  namespace: name.nullish(),
  arguments: z.string().nullish().meta({ description: 'Of a function_call: JSON.' }),
  output: content.nullish().meta({ description: 'Of a function_call_output.' }),
  status: label.nullish().meta({ description: 'incomplete: a call that was cut off is left out of the prompt.' }),
  summary: list(part).nullish().meta({ description: 'Of a reasoning item, which may have content instead.' }),
});
export type InputItem = z.infer<typeof item>;

const aFunction = {
  type: z.string().max(MAX_LABEL_CHARS).meta({
    description: 'function, or namespace: of functions in `tools`. Tools of other types have no effect.',
  }),
  name: name.nullish(),
  description: z.string().nullish(),
  parameters: plainObject.nullish().meta({ description: 'A JSON Schema of the arguments.' }),
  strict: z.boolean().nullish(),
};

const tool = z.object({ ...aFunction, tools: list(z.object(aFunction)).max(MAX_TOOLS).nullish() });

const toolChoice = z.union(
  [
    z.enum(['none', 'auto', 'required']),
    z.object({ type: z.literal('function'), name }),
    z.object({
      type: z.literal('allowed_tools'),
      mode: z.enum(['auto', 'required']),
      tools: list(z.object({ type: z.literal('function'), name }))
        .min(1)
        .max(MAX_TOOLS),
    }),
  ],
  {
    error:
      'expected "none", "auto", "required", {"type": "function", "name": …} or {"type": "allowed_tools", "mode": …, "tools": …}',
  },
);

const format = z.object({
  type: z.enum(['text', 'json_object', 'json_schema'], { error: 'expected "text", "json_object" or "json_schema"' }),
  name: z.string().max(MAX_LABEL_CHARS).nullish(),
  description: z.string().nullish(),
  schema: plainObject.nullish(),
  strict: z.boolean().nullish(),
});

const metadata = z
  .unknown()
  .refine((value) => value === undefined || value === null || isMetadata(value), {
    error: `expected an object of at most ${MAX_METADATA.entries} entries of text`,
  })
  .optional()
  .meta({ type: ['object', 'null'], description: 'Given back with the answer.' });

function isMetadata(value: unknown): value is Record<string, string> {
  if (!isPlainObject(value)) return false;
  const keys = Object.keys(value);
  if (keys.length > MAX_METADATA.entries) return false;
  return keys.every((key) => {
    const entry = value[key];
    return key.length <= MAX_METADATA.keyChars && typeof entry === 'string' && entry.length <= MAX_METADATA.valueChars;
  });
}

const summary = z.enum(['auto', 'concise', 'detailed']).nullish();

/** What the prompt is made of. */
const prompting = {
  model,
  input: z
    .union([z.string(), list(item)], { error: 'expected a string or an array of items' })
    .nullish()
    .meta({ description: 'Required without previous_response_id.' }),
  instructions: z.string().nullish().meta({ description: 'A system message before all others. Of this answer only.' }),
  previous_response_id: label.nullish().meta({ description: 'The conversation goes on from this stored answer.' }),
  tools: list(tool).max(MAX_TOOLS).nullish(),
  tool_choice: toolChoice.nullish(),
  parallel_tool_calls: z.boolean().nullish().meta({ description: 'false: at most one call. Default: true.' }),
  text: z
    .object({ format: format.nullish(), verbosity: z.enum(['low', 'medium', 'high']).nullish() })
    .nullish()
    .meta({ description: 'What the answer fits. The verbosity has no effect.' }),
  reasoning: z
    .object({ effort: reasoningEffort, summary, generate_summary: summary })
    .nullish()
    .meta({ description: 'With a summary asked for, the model’s whole reasoning is given as the summary.' }),
  truncation: z.enum(['auto', 'disabled']).nullish().meta({
    description: 'auto: of a prompt that is too long, only the end is kept. Default: disabled.',
  }),
  chat_template_kwargs: templateKwargs,
  conversation: only(() => false, 'use previous_response_id'),
  prompt: only(() => false, 'use instructions and input'),
};

export const responsesRequestSchema = z.object(
  {
    ...drawing,
    ...prompting,
    structured_outputs: structuredOutputs,
    max_output_tokens: z.number().int().min(1).nullish().meta({ description: 'Default: what the context leaves.' }),
    top_logprobs: z.number().int().min(0).max(MAX_TOP_LOGPROBS).nullish().meta({
      description: 'Alternatives to each token of the text; more than 0 asks for log-probabilities.',
    }),
    include: list(z.string().max(MAX_LABEL_CHARS)).max(MAX_INCLUDED).nullish().meta({
      description: 'message.output_text.logprobs asks for log-probabilities. Others have no effect.',
    }),
    stream: z.boolean().nullish(),
    stream_options: z.object({ include_obfuscation: z.boolean().nullish() }).nullish(),
    store: z.boolean().nullish().meta({ description: 'Keep the answer for a while. Default: true.' }),
    metadata,
    background: only((value) => value === false, 'leave it out or send false'),
    max_tool_calls: ignored,
    context_management: ignored,
    moderation: ignored,
    prompt_cache_key: ignored,
    prompt_cache_options: ignored,
    prompt_cache_retention: ignored,
    safety_identifier: ignored,
    service_tier: ignored,
    user: ignored,
    client_metadata: ignored,
    shoal: shoalExtension,
  },
  { error: bodyError },
);
export type ResponsesRequest = z.infer<typeof responsesRequestSchema>;

export const inputTokensRequestSchema = z.object(prompting, { error: bodyError });
export type InputTokensRequest = z.infer<typeof inputTokensRequestSchema>;
