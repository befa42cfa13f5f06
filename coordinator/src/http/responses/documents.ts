import { z } from 'zod';

/** What /v1/responses answers with. */

const namedLogprob = { token: z.string(), logprob: z.number(), bytes: z.array(z.number().int()) };
const logprobsSchema = z.array(z.object({ ...namedLogprob, top_logprobs: z.array(z.object(namedLogprob)) }));
const status = z.enum(['in_progress', 'completed', 'incomplete']);

const outputItemSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('reasoning'),
    id: z.string(),
    summary: z.array(z.object({ type: z.literal('summary_text'), text: z.string() })).meta({
      description: 'The model’s reasoning, if reasoning.summary asks for it; content has it otherwise.',
    }),
    content: z.array(z.object({ type: z.literal('reasoning_text'), text: z.string() })),
    encrypted_content: z.null(),
    status,
  }),
  z.object({
    type: z.literal('message'),
    id: z.string(),
    role: z.literal('assistant'),
    status,
    content: z.array(
      z.object({
        type: z.literal('output_text'),
        text: z.string(),
        annotations: z.array(z.never()).meta({ description: 'Always empty.' }),
        logprobs: logprobsSchema,
      }),
    ),
  }),
  z.object({
    type: z.literal('function_call'),
    id: z.string(),
    call_id: z.string(),
    namespace: z.string().optional().meta({ description: 'Of a function that the request has in a namespace.' }),
    name: z.string(),
    arguments: z.string().meta({ description: 'JSON, unless the answer was cut off.' }),
    status,
  }),
]);
export type OutputItem = z.infer<typeof outputItemSchema>;

const usageSchema = z.object({
  input_tokens: z.number().int(),
  input_tokens_details: z.object({ cached_tokens: z.number().int(), cache_write_tokens: z.number().int() }),
  output_tokens: z.number().int(),
  output_tokens_details: z.object({ reasoning_tokens: z.number().int() }),
  total_tokens: z.number().int(),
});

const echoed = { description: 'As the request has it.' };

export const responseObjectSchema = z.object({
  id: z.string(),
  object: z.literal('response'),
  created_at: z.number().int().meta({ description: 'Unix time in seconds.' }),
  completed_at: z.number().int().nullable(),
  status: z.enum(['in_progress', 'completed', 'incomplete', 'failed']),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  incomplete_details: z.object({ reason: z.literal('max_output_tokens') }).nullable(),
  model: z.string(),
  output: z.array(outputItemSchema),
  usage: usageSchema.nullable(),
  store: z
    .boolean()
    .meta({ description: 'Whether the answer is kept. false also for one whose conversation is too large.' }),
  previous_response_id: z.string().nullable(),
  instructions: z.string().nullable(),
  metadata: z.unknown().meta({ type: 'object', ...echoed }),
  background: z.literal(false),
  max_output_tokens: z.number().int().nullable(),
  max_tool_calls: z.null(),
  parallel_tool_calls: z.boolean(),
  prompt_cache_key: z.null(),
  reasoning: z.object({ effort: z.string().nullable(), summary: z.string().nullable() }),
  safety_identifier: z.null(),
  service_tier: z.literal('default'),
  temperature: z.number(),
  text: z.unknown().meta({ type: 'object', ...echoed }),
  tool_choice: z.unknown().meta(echoed),
  tools: z.unknown().meta({ type: 'array', description: 'The functions that the model was told of.' }),
  top_logprobs: z.number().int(),
  top_p: z.number(),
  truncation: z.enum(['auto', 'disabled']),
  user: z.null(),
});
export type ResponseObject = z.infer<typeof responseObjectSchema>;

export const inputTokensSchema = z.object({
  object: z.literal('response.input_tokens'),
  input_tokens: z.number().int(),
});

export const itemListSchema = z.object({
  object: z.literal('list'),
  data: z.array(z.unknown().meta({ type: 'object' })),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
  has_more: z.boolean(),
});

export const deletedSchema = z.object({ id: z.string(), object: z.literal('response'), deleted: z.literal(true) });
