import type { TextClient } from '../../text/text-thread.ts';
import type { ChatRequest } from './chat-schema.ts';
import { chatPrompt } from './parse-chat.ts';
import { MAX_TRUNCATED, adapterOf } from './parse-common.ts';
import type { ParseDeps } from './parsed-request.ts';

/** The number of tokens of a conversation's prompt, which may be more than an answer could have. Generates nothing. */
export async function countPrompt(chat: ChatRequest, deps: ParseDeps, client: TextClient): Promise<number> {
  adapterOf(chat.model, deps);
  const { ids } = await chatPrompt({ ...chat, truncate_prompt_tokens: MAX_TRUNCATED }, deps, client);
  return ids.length;
}
