import { variablesFault } from '@shoal/model';
import { ApiError } from '../errors.ts';
import type { ChatRequest } from './chat-schema.ts';

/** Variables of the chat template, by the names that published templates have. Throws an ApiError for a name that is ours. */
export function templateVariables(body: ChatRequest): Record<string, unknown> {
  const { reasoning_effort: effort, thinking, chat_template_kwargs: own = {} } = body;
  const fault = variablesFault(own ?? {});
  if (fault !== undefined) {
    throw ApiError.invalid('chat_template_kwargs', `Invalid 'chat_template_kwargs': ${fault}.`);
  }
  const switched = body.enable_thinking ?? (thinking ? thinking.type !== 'disabled' : undefined);
  const enabled = switched ?? (effort === 'none' ? false : undefined);
  return {
    ...(effort != null && { reasoning_effort: effort }),
    // DeepSeek-V3.1's and Kimi's templates call it `thinking`.
    ...(enabled !== undefined && { enable_thinking: enabled, thinking: enabled }),
    ...own,
  };
}
