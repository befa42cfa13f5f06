import { z } from 'zod';

const usageSchema = z.object({
  prompt_tokens: z.number().int(),
  completion_tokens: z.number().int(),
  total_tokens: z.number().int(),
  completion_tokens_details: z
    .object({
      accepted_prediction_tokens: z.number().int().meta({ description: 'Drafted tokens that are in the answer.' }),
      rejected_prediction_tokens: z.number().int().meta({
        description: 'Drafted tokens that are not in it. No other count includes them.',
      }),
    })
    .optional()
    .meta({ description: 'Present if tokens may have been drafted ahead.' }),
  shoal: z
    .object({
      device_limit: z.number().int().optional().meta({ description: 'Present if there was a limit.' }),
      token_layers: z.number().int().optional().meta({ description: 'Tokens × MoE layers routed under the limit.' }),
      changed: z.number().int().optional().meta({ description: 'Those where the limit changed the experts.' }),
      drafted: z.number().int().optional().meta({ description: 'Tokens drafted ahead, right or wrong.' }),
      passes: z.number().int().optional().meta({ description: 'Passes that produced tokens.' }),
      laps_per_token: z.number().optional().meta({
        description:
          'Laps per token, of those passes and of calls to an MTP module on tabs. Without drafts this is the number of MoE layers that tabs serve.',
      }),
    })
    .optional()
    .meta({ description: 'Present with a device limit, or if tokens may have been drafted ahead.' }),
});
export type Usage = z.infer<typeof usageSchema>;

const finishReason = z.enum(['stop', 'length']).nullable();

const shoalTokensSchema = z
  .object({
    tokens: z.array(
      z.object({
        id: z.number().int(),
        text: z.string(),
        laps: z
          .array(
            z.object({
              layer: z.number().int(),
              lapMs: z.number(),
              resident: z
                .boolean()
                .optional()
                .meta({ description: 'True for a local layer of the coordinator, which makes no lap.' }),
              experts: z.array(
                z.object({ expert: z.number().int(), weight: z.number(), peerId: z.string().nullable() }),
              ),
            }),
          )
          .meta({ description: 'One lap per MoE layer. peerId is null for an expert that the coordinator computed.' }),
      }),
    ),
  })
  .meta({ description: 'Present with shoal: {"trace": true}.' });
export type ShoalTokens = z.infer<typeof shoalTokensSchema>;

const completionLogprobsSchema = z.object({
  tokens: z.array(z.string()),
  token_logprobs: z.array(z.number().nullable()),
  top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
  text_offset: z.array(z.number().int()),
});
export type CompletionLogprobs = z.infer<typeof completionLogprobsSchema>;

const completionChoiceSchema = z.object({
  text: z.string(),
  index: z.number().int(),
  logprobs: completionLogprobsSchema.nullable(),
  finish_reason: finishReason,
  shoal: shoalTokensSchema.optional(),
});
export type CompletionChoice = z.infer<typeof completionChoiceSchema>;

const head = {
  id: z.string(),
  created: z.number().int().meta({ description: 'Unix time in seconds.' }),
  model: z.string(),
  system_fingerprint: z.string(),
};

export const completionSchema = z.object({
  ...head,
  object: z.literal('text_completion'),
  choices: z.array(completionChoiceSchema),
  usage: usageSchema.nullish().meta({ description: 'In a stream only with stream_options.include_usage.' }),
});

const namedLogprob = { token: z.string(), logprob: z.number(), bytes: z.array(z.number().int()) };
const chatLogprobsSchema = z.object({
  content: z.array(z.object({ ...namedLogprob, top_logprobs: z.array(z.object(namedLogprob)) })),
  refusal: z.null(),
});
export type ChatLogprobs = z.infer<typeof chatLogprobsSchema>;

const chatChoiceSchema = z.object({
  index: z.number().int(),
  message: z.object({ role: z.literal('assistant'), content: z.string(), refusal: z.null() }),
  logprobs: chatLogprobsSchema.nullable(),
  finish_reason: finishReason,
  shoal: shoalTokensSchema.optional(),
});
export type ChatChoice = z.infer<typeof chatChoiceSchema>;

export const chatCompletionSchema = z.object({
  ...head,
  object: z.literal('chat.completion'),
  choices: z.array(chatChoiceSchema),
  usage: usageSchema,
});

const chatChunkChoiceSchema = z.object({
  index: z.number().int(),
  delta: z.object({ role: z.literal('assistant').optional(), content: z.string().optional() }),
  logprobs: chatLogprobsSchema.nullable(),
  finish_reason: finishReason,
  shoal: shoalTokensSchema.optional(),
});
export type ChatChunkChoice = z.infer<typeof chatChunkChoiceSchema>;

export const chatChunkSchema = z.object({
  ...head,
  object: z.literal('chat.completion.chunk'),
  choices: z.array(chatChunkChoiceSchema),
  usage: usageSchema.nullish(),
});

export const modelSchema = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.number().int(),
  owned_by: z.string(),
});
export const modelListSchema = z.object({ object: z.literal('list'), data: z.array(modelSchema) });

export const errorSchema = z.object({
  error: z.object({
    message: z.string(),
    type: z.enum(['invalid_request_error', 'rate_limit_error', 'server_error']),
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
});
