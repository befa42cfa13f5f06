import { ROUTED_TOKENS } from '../../adapters/adapter-chooser.ts';
import type { TextClient } from '../../text/text-thread.ts';
import type { ChatRequest } from './chat-schema.ts';
import { encode } from './parse-common.ts';
import type { ParsedRequest, ParseDeps } from './parsed-request.ts';

/** The choice for a request with these prompts; undefined if the request doesn't leave that to the coordinator. */
export function routeByPrompts(
  model: string | null | undefined,
  prompts: readonly { ids: readonly number[] }[],
  deps: ParseDeps,
): ParsedRequest['route'] {
  if (!model || !deps.adapters?.isAuto(model)) return undefined;
  return choose(prompts.flatMap(({ ids }) => ids.slice(-ROUTED_TOKENS)).slice(-ROUTED_TOKENS), deps);
}

/**
 * The choice for a conversation: by what the user has written, so that instructions and tools don't count, and the choice seldom
 * changes on the way. Rejects as `encode` does.
 */
export async function routeByUser(
  body: ChatRequest,
  deps: ParseDeps,
  client: TextClient,
): Promise<ParsedRequest['route']> {
  if (!body.model || !deps.adapters?.isAuto(body.model)) return undefined;
  const text = body.messages.flatMap(({ role, content }) => (role === 'user' ? [plainText(content)] : [])).join('\n');
  const kept = { truncate_prompt_tokens: ROUTED_TOKENS };
  const { list } = await encode({ text, addsSpecialTokens: false }, 'messages', kept, deps, client);
  return choose(list, deps);
}

function plainText(content: ChatRequest['messages'][number]['content']): string {
  return typeof content === 'string' ? content : (content ?? []).map(({ text }) => text ?? '').join('');
}

/** Special tokens say nothing of what a text is about. */
function choose(ids: readonly number[], { adapters, codec }: ParseDeps): ParsedRequest['route'] {
  return adapters!.choose(ids.filter((id) => codec.specialText(id) === undefined));
}
