import { z } from 'zod';

const usageSchema = z.object({
  prompt_tokens: z.number().int(),
  completion_tokens: z.number().int(),
  total_tokens: z.number().int(),
  completion_tokens_details: z
    .object({
      reasoning_tokens: z.number().int().optional().meta({ description: 'Tokens that the model spent on reasoning.' }),
      accepted_prediction_tokens: z.number().int().optional().meta({
        description: 'Drafted tokens that are in the answer; present if tokens may have been drafted ahead.',
      }),
      rejected_prediction_tokens: z.number().int().optional().meta({
        description: 'Drafted tokens that are not in it. No other count includes them.',
      }),
    })
    .optional(),
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
const chatFinishReason = z.enum(['stop', 'length', 'tool_calls']).nullable();
const stopReasonSchema = z
  .union([z.string(), z.number().int()])
  .optional()
  .meta({ description: 'The stop string or the token that ended the answer, as in vLLM.' });
const promptLogprobSchema = z
  .record(z.string(), z.object({ logprob: z.number(), rank: z.number().int().nullable(), decoded_token: z.string() }))
  .nullable();
export type PromptLogprob = z.infer<typeof promptLogprobSchema>;
const promptLogprobsSchema = z.array(promptLogprobSchema).optional().meta({
  description: 'For each token of the prompt, as in vLLM: its alternatives and itself, by id.',
});

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

const tokenIds = z.array(z.number().int()).optional().meta({ description: 'With return_token_ids.' });

const completionChoiceSchema = z.object({
  text: z.string(),
  index: z.number().int(),
  logprobs: completionLogprobsSchema.nullable(),
  finish_reason: finishReason,
  stop_reason: stopReasonSchema,
  prompt_token_ids: tokenIds,
  token_ids: tokenIds,
  prompt_logprobs: promptLogprobsSchema,
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

const toolCallSchema = z.object({
  id: z.string(),
  type: z.literal('function'),
  function: z.object({ name: z.string(), arguments: z.string().meta({ description: 'JSON.' }) }),
});

const reasoningContent = z.string().optional().meta({ description: 'What the model thought before it answered.' });

const chatChoiceSchema = z.object({
  index: z.number().int(),
  message: z.object({
    role: z.literal('assistant'),
    content: z.string().nullable(),
    refusal: z.null(),
    reasoning_content: reasoningContent,
    tool_calls: z.array(toolCallSchema).optional(),
  }),
  logprobs: chatLogprobsSchema.nullable(),
  finish_reason: chatFinishReason,
  stop_reason: stopReasonSchema,
  token_ids: tokenIds,
  shoal: shoalTokensSchema.optional(),
});
export type ChatChoice = z.infer<typeof chatChoiceSchema>;

export const chatCompletionSchema = z.object({
  ...head,
  object: z.literal('chat.completion'),
  prompt_token_ids: tokenIds,
  prompt_logprobs: promptLogprobsSchema,
  choices: z.array(chatChoiceSchema),
  usage: usageSchema,
});

const chatChunkCallSchema = z.object({
  index: z.number().int(),
  id: z.string().optional().meta({ description: 'In the first piece of a call, with its type and name.' }),
  type: z.literal('function').optional(),
  function: z.object({ name: z.string().optional(), arguments: z.string() }),
});
export type ChatChunkCall = z.infer<typeof chatChunkCallSchema>;

const chatChunkChoiceSchema = z.object({
  index: z.number().int(),
  delta: z.object({
    role: z.literal('assistant').optional(),
    content: z.string().optional(),
    reasoning_content: reasoningContent,
    tool_calls: z.array(chatChunkCallSchema).optional(),
  }),
  logprobs: chatLogprobsSchema.nullable(),
  finish_reason: chatFinishReason,
  stop_reason: stopReasonSchema,
  token_ids: tokenIds,
  shoal: shoalTokensSchema.optional(),
});
export type ChatChunkChoice = z.infer<typeof chatChunkChoiceSchema>;

export const chatChunkSchema = z.object({
  ...head,
  object: z.literal('chat.completion.chunk'),
  prompt_token_ids: tokenIds,
  choices: z.array(chatChunkChoiceSchema),
  usage: usageSchema.nullish(),
});

export const modelSchema = z.object({
  id: z.string(),
  object: z.literal('model'),
  type: z.literal('model').meta({ description: 'As Anthropic’s clients read it, as the next two.' }),
  display_name: z.string(),
  created_at: z.string(),
  created: z.number().int(),
  owned_by: z.string(),
  root: z.string().meta({ description: 'The served model, if this is another name of it.' }),
  parent: z.string().optional().meta({ description: 'The model that this adapter changes, if it is one.' }),
  max_model_len: z
    .number()
    .int()
    .meta({ description: 'Tokens of prompt and answer together; of an encoder–decoder, of each of them.' }),
  shoal: z.object({
    convention: z.string().meta({ description: 'How the model writes tool calls and reasoning.' }),
    tools: z.enum(['template', 'described', 'none']).meta({
      description: 'Whether the chat template knows tools, or they are described in a message, or refused.',
    }),
    reasoning: z.boolean().meta({ description: 'Whether reasoning is told apart.' }),
    description: z.string().optional().meta({ description: 'What the adapter is for.' }),
    languages: z.array(z.string()).optional().meta({
      description: 'What a model for translation has, as FLORES-200 codes them.',
    }),
    dimensions: z.number().int().optional().meta({ description: 'Values of an embedding; only of an encoder.' }),
  }),
});
export type ModelEntry = z.infer<typeof modelSchema>;
export const modelListSchema = z.object({ object: z.literal('list'), data: z.array(modelSchema) });

export const errorSchema = z.object({
  error: z.object({
    message: z.string(),
    type: z.enum(['invalid_request_error', 'rate_limit_error', 'server_error']),
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
});
