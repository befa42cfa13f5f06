import { MAX_TOP_LOGPROBS } from '@shoal/model';
import { bodyError, ignored, isPlainObject, list, MAX_LABEL_CHARS, only, plainObject, z } from './fields.ts';
import { olderLimit, sampling, templateKwargs } from './sampling-schema.ts';

/** OpenAI's limit is 128; agents with several tool servers send more. */
export const MAX_TOOLS = 512;
/** Calls of one message. Agents send a handful. */
const MAX_CALLS = 512;
/** OpenAI's limit is 64; servers of tools add prefixes. */
export const MAX_NAME_CHARS = 256;
const NO_MEDIA = 'this model reads text only; images, audio and files are not supported';

const textPart = z.object({
  type: z.enum(['text', 'input_text', 'output_text', 'refusal'], { error: NO_MEDIA }),
  text: z.string().optional(),
  refusal: z.string().optional(),
});

const messageContent = z
  .union([z.string(), list(textPart)], {
    error: `expected a string or an array of {"type": "text", "text": …} parts; ${NO_MEDIA}`,
  })
  .nullish();

const toolName = z.string().min(1).max(MAX_NAME_CHARS);

const toolCall = z.object({
  id: z.string().max(MAX_LABEL_CHARS).nullish(),
  type: z.literal('function').nullish(),
  function: z.object({
    name: toolName,
    arguments: z.union([z.string(), plainObject]).nullish().meta({ description: 'JSON as a string, or an object.' }),
  }),
});

const messageSchema = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'function'], {
    error: 'expected one of system, developer, user, assistant, tool',
  }),
  content: messageContent,
  name: z.string().max(MAX_LABEL_CHARS).nullish(),
  tool_calls: list(toolCall).max(MAX_CALLS).nullish(),
  tool_call_id: z.string().max(MAX_LABEL_CHARS).nullish(),
  reasoning_content: z
    .string()
    .nullish()
    .meta({ description: 'What the model thought, as an earlier answer gave it.' }),
  reasoning: z.string().nullish().meta({ description: 'Another name of reasoning_content.' }),
  refusal: z.string().nullish(),
});
export type ChatRequestMessage = z.infer<typeof messageSchema>;

const functionSchema = z.object({
  name: toolName,
  description: z.string().nullish(),
  parameters: plainObject.nullish().meta({ description: 'A JSON Schema of the arguments.' }),
  strict: z.boolean().nullish(),
});

const toolSchema = z
  .object({
    type: z.string().max(MAX_LABEL_CHARS).meta({ description: 'function. Tools of other types have no effect.' }),
    function: functionSchema.nullish(),
  })
  .refine(({ type, function: own }) => type !== 'function' || own != null, {
    path: ['function'],
    error: 'expected an object',
  });
export type ChatTool = z.infer<typeof toolSchema>;

const namedFunction = z.object({ type: z.literal('function'), function: z.object({ name: toolName }) });

const toolChoice = z
  .union(
    [
      z.enum(['none', 'auto', 'required']),
      namedFunction,
      z.object({
        type: z.literal('allowed_tools'),
        allowed_tools: z.object({
          mode: z.enum(['auto', 'required']),
          tools: list(namedFunction).min(1).max(MAX_TOOLS),
        }),
      }),
    ],
    {
      error:
        'expected "none", "auto", "required", {"type": "function", "function": {"name": …}} or {"type": "allowed_tools", "allowed_tools": {"mode": …, "tools": …}}',
    },
  )
  .nullish();

export const reasoningEffort = z.enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh', 'max']).nullish();

/** How the prompt is made from the messages, and what of its answer is told apart. */
const templating = {
  reasoning_effort: reasoningEffort.meta({
    description: 'Passed to the chat template; none: enable_thinking is false.',
  }),
  chat_template_kwargs: templateKwargs,
  thinking: z
    .object({ type: z.enum(['enabled', 'disabled', 'adaptive']) })
    .nullish()
    .meta({ description: 'Another way to set enable_thinking.' }),
  enable_thinking: z.boolean().nullish().meta({ description: 'The same as in chat_template_kwargs.' }),
  include_reasoning: z.boolean().nullish().meta({ description: 'false: leave reasoning_content out.' }),
  add_generation_prompt: z.boolean().nullish().meta({ description: 'false: do not begin an answer. Default: true.' }),
  continue_final_message: z.boolean().nullish().meta({ description: 'Go on with the last message.' }),
  chat_template: only(() => false, 'the model’s own template is used'),
  documents: only((value) => Array.isArray(value) && value.length === 0, 'put them into a message'),
};

export const chatRequestSchema = z.object(
  {
    ...sampling,
    ...templating,
    messages: list(messageSchema).min(1),
    max_tokens: z.number().int().min(-1).nullish().meta({ description: 'Older name of max_completion_tokens.' }),
    max_completion_tokens: z.number().int().min(-1).nullish().meta({
      description: 'Default and -1: what the context leaves.',
    }),
    n_predict: olderLimit,
    logprobs: z.boolean().nullish(),
    top_logprobs: z.number().int().min(0).max(MAX_TOP_LOGPROBS).nullish().meta({
      description: 'Alternatives to each token. Requires logprobs: true.',
    }),
    tools: list(toolSchema).max(MAX_TOOLS).nullish(),
    tool_choice: toolChoice,
    parallel_tool_calls: z.boolean().nullish().meta({ description: 'false: at most one call. Default: true.' }),
    functions: only((value) => Array.isArray(value) && value.length === 0, 'use tools'),
    function_call: only((value) => value === 'none' || value === 'auto', 'use tool_choice'),
    echo: only((value) => value === false, 'leave it out or send false'),
    best_of: only((value) => value === 1, 'leave it out or send 1'),
    modalities: only(
      (value) => Array.isArray(value) && value.length === 1 && value[0] === 'text',
      'leave it out or send ["text"]',
    ),
    audio: only(() => false, 'leave it out or send null'),
    add_special_tokens: ignored,
    prediction: ignored,
    verbosity: ignored,
    web_search_options: only(isEmptyObject, 'leave it out or send null'),
  },
  { error: bodyError },
);
export type ChatRequest = z.infer<typeof chatRequestSchema>;

function isEmptyObject(value: unknown): boolean {
  return isPlainObject(value) && Object.keys(value).length === 0;
}
