import type { TextClient } from '../../text/text-thread.ts';
import type { Endpoint, PlainEndpoint } from '../endpoint.ts';
import type { ChatRequest } from '../requests/chat-schema.ts';
import { parseChat } from '../requests/parse-chat.ts';
import type { ParseDeps } from '../requests/parsed-request.ts';
import { countPrompt } from '../requests/count-prompt.ts';
import { renamed } from '../requests/renamed.ts';
import {
  type CountTokensRequest,
  countTokensRequestSchema,
  type MessagesRequest,
  messagesRequestSchema,
} from './schema.ts';
import { messagesShape } from './shape.ts';
import { toChat } from './to-chat.ts';

/** What /v1/chat/completions calls other than /v1/messages. */
const NAMES = {
  stop: 'stop_sequences',
  max_completion_tokens: 'max_tokens',
  response_format: 'output_config.format',
  reasoning_effort: 'output_config.effort',
};

/** Anthropic's Messages API. */
export const messages: Endpoint<MessagesRequest> = {
  url: '/v1/messages',
  schema: messagesRequestSchema,
  read(body, { requestId }) {
    const { chat, ignored } = toChat(body);
    return {
      parse: (deps, client) => renamed(NAMES, () => parseChat(chat, deps, client)),
      shape: messagesShape(requestId),
      ignored,
    };
  },
};

/** How many tokens the prompt of a message has. */
export const countTokens: PlainEndpoint<CountTokensRequest> = {
  url: '/v1/messages/count_tokens',
  schema: countTokensRequestSchema,
  read(body) {
    const { chat, ignored } = toChat(body);
    return { answer: async (deps, client) => ({ input_tokens: await count(chat, deps, client) }), ignored };
  },
};

function count(chat: ChatRequest, deps: ParseDeps, client: TextClient): Promise<number> {
  return renamed(NAMES, () => countPrompt(chat, deps, client));
}
