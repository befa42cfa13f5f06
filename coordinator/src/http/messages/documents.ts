import { z } from 'zod';

/** What /v1/messages answers with. */

const blockSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text'), text: z.string() }),
  z.object({
    type: z.literal('thinking'),
    thinking: z.string(),
    signature: z.string().meta({ description: 'Empty.' }),
  }),
  z.object({
    type: z.literal('tool_use'),
    id: z.string(),
    name: z.string(),
    input: z.unknown().meta({ description: 'An object; empty if the call was cut off.' }),
    caller: z.object({ type: z.literal('direct') }),
  }),
]);
export type MessageBlock = z.infer<typeof blockSchema>;

const usageSchema = z.object({
  input_tokens: z.number().int(),
  output_tokens: z.number().int(),
  cache_creation_input_tokens: z.number().int(),
  cache_read_input_tokens: z.number().int(),
  output_tokens_details: z.object({ thinking_tokens: z.number().int() }),
});
export type MessageUsage = z.infer<typeof usageSchema>;

export const messageSchema = z.object({
  id: z.string(),
  type: z.literal('message'),
  role: z.literal('assistant'),
  model: z.string(),
  content: z.array(blockSchema),
  stop_reason: z.enum(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use']).nullable(),
  stop_sequence: z.string().nullable(),
  stop_details: z.null(),
  container: z.null(),
  usage: usageSchema,
});
export type Message = z.infer<typeof messageSchema>;

export const tokenCountSchema = z.object({ input_tokens: z.number().int() });

export const messagesErrorSchema = z.object({
  type: z.literal('error'),
  error: z.object({ type: z.string(), message: z.string(), details: z.object({ error_code: z.string() }).optional() }),
  request_id: z.string(),
});
