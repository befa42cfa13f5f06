import { MAX_TOP_LOGPROBS } from '@shoal/model';
import { bodyError, list, z } from './fields.ts';
import { MAX_N, olderLimit, sampling } from './sampling-schema.ts';

const tokenArray = list(z.number().int().min(0)).min(1);

export const completionRequestSchema = z.object(
  {
    ...sampling,
    prompt: z
      .union([z.string(), list(z.string()).min(1), tokenArray, list(tokenArray).min(1)], {
        error: 'expected a string, an array of strings, an array of token ids, or an array of arrays of token ids',
      })
      .meta({ description: 'Text or token ids, or an array of either, which gives the choices of each in turn.' }),
    max_tokens: z.number().int().min(-1).nullish().meta({
      description: 'Default 16; -1: what the context leaves. Use 0 with echo to score a prompt.',
    }),
    n_predict: olderLimit,
    echo: z.boolean().nullish(),
    logprobs: z
      .union([z.number().int().min(0).max(MAX_TOP_LOGPROBS), z.boolean()], {
        error: `expected an integer from 0 to ${MAX_TOP_LOGPROBS}`,
      })
      .nullish(),
    best_of: z.number().int().min(1).max(MAX_N).nullish().meta({
      description: 'Make so many answers and return the n with the highest log-probability per token.',
    }),
    suffix: z.string().nullish().meta({
      description: 'Text after the gap that the answer fills, for models with fill-in-the-middle tokens.',
    }),
    add_special_tokens: z.boolean().nullish().meta({ description: 'false: no begin-of-text before the prompt.' }),
  },
  { error: bodyError },
);
export type CompletionRequest = z.infer<typeof completionRequestSchema>;
