import { MAX_NAME_CHARS, MAX_TOOLS, reasoningEffort } from '../requests/chat-schema.ts';
import { bodyError, ignored, list, MAX_LABEL_CHARS, only, plainObject, z } from '../requests/fields.ts';
import { drawing, MAX_STOPS, model, shoalExtension, stopString, templateKwargs } from '../requests/sampling-schema.ts';

const TEXT_ONLY = 'this model reads text only; images and documents are not supported';

const textBlock = z.object({
  type: z.literal('text', { error: `expected "text"; ${TEXT_ONLY}` }),
  text: z.string(),
});

const textContent = (most: string) =>
  z.union([z.string(), list(textBlock)], { error: `expected a string or an array of ${most}; ${TEXT_ONLY}` });

const name = z.string().min(1).max(MAX_NAME_CHARS);
const id = z.string().min(1).max(MAX_LABEL_CHARS);

/** The blocks of all roles. What a type requires beside its name is checked where it is read. */
const block = z.object({
  type: z.enum(['text', 'thinking', 'redacted_thinking', 'tool_use', 'tool_result'], {
    error: `expected one of text, thinking, redacted_thinking, tool_use, tool_result; ${TEXT_ONLY}`,
  }),
  text: z.string().nullish(),
  thinking: z.string().nullish().meta({ description: 'Of a thinking block. Its signature is not looked at.' }),
  id: id.nullish(),
  name: name.nullish(),
  input: plainObject.nullish().meta({ description: 'Of a tool_use block.' }),
  tool_use_id: id.nullish(),
  content: textContent('text blocks').nullish().meta({ description: 'Of a tool_result block.' }),
  is_error: z.boolean().nullish(),
});
export type MessageBlock = z.infer<typeof block>;

const message = z.object({
  role: z.enum(['user', 'assistant', 'system'], { error: 'expected "user" or "assistant"' }),
  content: z.union([z.string(), list(block)], { error: `expected a string or an array of blocks; ${TEXT_ONLY}` }),
});

const tool = z.object({
  type: z.string().max(MAX_LABEL_CHARS).nullish().meta({
    description: 'custom, the default. Tools of other types have no effect.',
  }),
  name,
  description: z.string().nullish(),
  input_schema: plainObject.nullish(),
  strict: z.boolean().nullish(),
});

const toolChoice = z.object({
  type: z.enum(['auto', 'any', 'tool', 'none'], { error: 'expected "auto", "any", "tool" or "none"' }),
  name: name.nullish(),
  disable_parallel_tool_use: z.boolean().nullish(),
});

const format = z.object({
  type: z.literal('json_schema', { error: 'expected "json_schema"' }),
  schema: plainObject,
});

const { stop: _, ...sampling } = drawing;

/** Counting takes the same body. */
const shared = {
  ...sampling,
  model,
  messages: list(message).min(1),
  system: textContent('text blocks').nullish(),
  tools: list(tool).max(MAX_TOOLS).nullish(),
  tool_choice: toolChoice.nullish(),
  stop_sequences: list(stopString).max(MAX_STOPS).nullish(),
  temperature: z.number().min(0).max(1).nullish().meta({ description: '0 is greedy. Default: the model’s own.' }),
  stream: z.boolean().nullish(),
  thinking: z
    .object({
      type: z.enum(['enabled', 'disabled', 'adaptive', 'between_tools'], {
        error: 'expected "enabled", "adaptive" or "disabled"',
      }),
      budget_tokens: z.number().int().min(0).nullish().meta({ description: 'Accepted; has no effect.' }),
      display: z.enum(['summarized', 'omitted']).nullish().meta({ description: 'omitted: no thinking block.' }),
    })
    .nullish()
    .meta({ description: 'Default: disabled.' }),
  output_config: z
    .object({ effort: reasoningEffort, format: format.nullish() })
    .nullish()
    .meta({ description: 'The answer is JSON that fits the schema of `format`.' }),
  output_format: format.nullish().meta({ description: 'Older place of output_config.format.' }),
  chat_template_kwargs: templateKwargs,
  mcp_servers: only((value) => Array.isArray(value) && value.length === 0, 'connect to them in your program'),
  thread: z
    .unknown()
    .optional()
    .meta({ description: 'Refused with the error code at which clients send whole conversations.' }),
  betas: ignored,
  cache_control: ignored,
  container: ignored,
  context_management: ignored,
  diagnostics: ignored,
  inference_geo: ignored,
  metadata: ignored,
  service_tier: ignored,
  speed: ignored,
  user_profile_id: ignored,
  workspace_id: ignored,
  shoal: shoalExtension,
};

export const messagesRequestSchema = z.object(
  { ...shared, max_tokens: z.number().int().min(1).meta({ description: 'At most what the context leaves.' }) },
  { error: bodyError },
);
export type MessagesRequest = z.infer<typeof messagesRequestSchema>;

export const countTokensRequestSchema = z.object(
  { ...shared, max_tokens: z.number().int().min(0).nullish().meta({ description: 'Accepted; has no effect.' }) },
  { error: bodyError },
);
export type CountTokensRequest = z.infer<typeof countTokensRequestSchema>;
