import { ApiError } from '../errors.ts';
import type { ChatRequest } from '../requests/chat-schema.ts';
import { drawingOf } from '../requests/drawing-of.ts';
import { supportedTools } from '../requests/supported-tools.ts';
import { conversationOf } from './conversation.ts';
import { type FlatFunction, flatFunctions, isSupported, type Namespaces } from './namespaces.ts';
import type { InputItem, InputTokensRequest, ResponsesRequest } from './schema.ts';

const LOGPROBS = 'message.output_text.logprobs';

type Tools = NonNullable<InputTokensRequest['tools']>;

/** A request as chat has it, and what its answer says of it. */
interface Translated {
  chat: ChatRequest;
  /** Those that the model is told of. */
  tools: Tools;
  /** Functions that are in a namespace, by the names that the model knows them by. */
  namespaces: Namespaces;
  /** What has no effect. */
  ignored: string[];
}

/** What the prompt of an answer is made of, as /v1/chat/completions has it. `items` are the whole conversation. */
export function promptToChat(body: InputTokensRequest | ResponsesRequest, items: readonly InputItem[]): Translated {
  const { supported, ignored } = supportedTools(body.tools ?? [], isSupported);
  const { functions, namespaces } = flatFunctions(supported);
  const { tools, tool_choice } = chosenTools(body, functions);
  const messages = conversationOf(items);
  const { instructions } = body;
  if (messages.length === 0 && !instructions) {
    throw ApiError.missing('input');
  }
  const chat: ChatRequest = {
    model: body.model,
    messages: instructions ? [{ role: 'system', content: instructions }, ...messages] : messages,
    tools,
    tool_choice,
    parallel_tool_calls: body.parallel_tool_calls,
    response_format: responseFormat(body.text?.format),
    reasoning_effort: body.reasoning?.effort,
    chat_template_kwargs: body.chat_template_kwargs,
  };
  return { chat, tools: supported, namespaces, ignored };
}

/** The same request to /v1/chat/completions. */
export function toChat(body: ResponsesRequest, items: readonly InputItem[], maxContext: number): Translated {
  const { chat, ...more } = promptToChat(body, items);
  const { top_logprobs: top } = body;
  const wantsLogprobs = (top ?? 0) > 0 || (body.include ?? []).includes(LOGPROBS);
  return {
    ...more,
    chat: {
      ...drawingOf(body),
      ...chat,
      stop: body.stop,
      structured_outputs: body.structured_outputs,
      max_completion_tokens: body.max_output_tokens,
      stream: body.stream,
      truncate_prompt_tokens: body.truncation === 'auto' ? keptTokens(body, maxContext) : undefined,
      ...(wantsLogprobs && { logprobs: true, top_logprobs: top ?? 0 }),
      shoal: body.shoal,
    },
  };
}

/** Of a prompt that is too long, what leaves room for the answer, or a quarter of the context if that is less. */
function keptTokens({ max_output_tokens: asked }: ResponsesRequest, maxContext: number): number {
  const quarter = Math.max(1, Math.floor(maxContext / 4));
  return maxContext - Math.min(asked ?? quarter, quarter);
}

function chosenTools({ tool_choice: choice }: InputTokensRequest, functions: readonly FlatFunction[]) {
  const tools = functions.map(({ name, description, parameters, strict }) => ({
    type: 'function' as const,
    function: { name, description, parameters, strict },
  }));
  if (choice == null || typeof choice === 'string') return { tools, tool_choice: choice };
  if (choice.type === 'function') {
    return { tools, tool_choice: { type: 'function' as const, function: { name: choice.name } } };
  }
  const allowed = choice.tools.map(({ type, name }) => ({ type, function: { name } }));
  const allowed_tools = { mode: choice.mode, tools: allowed };
  return { tools, tool_choice: { type: 'allowed_tools' as const, allowed_tools } };
}

function responseFormat(
  format: NonNullable<ResponsesRequest['text']>['format'],
): NonNullable<ChatRequest['response_format']> | undefined {
  if (format == null || format.type === 'text') return undefined;
  const { type, name, description, schema, strict } = format;
  return type === 'json_object' ? { type } : { type, json_schema: { name, description, schema, strict } };
}
