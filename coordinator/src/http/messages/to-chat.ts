import { ApiError } from '../errors.ts';
import { CallNames } from '../requests/call-names.ts';
import type { ChatRequest, ChatRequestMessage } from '../requests/chat-schema.ts';
import { drawingOf } from '../requests/drawing-of.ts';
import { supportedTools } from '../requests/supported-tools.ts';
import type { CountTokensRequest, MessageBlock, MessagesRequest } from './schema.ts';

type Body = MessagesRequest | CountTokensRequest;
type Content = MessagesRequest['messages'][number]['content'];

/** Between blocks of text, which are texts of their own: instructions, a reminder, a question. */
const BETWEEN_BLOCKS = '\n\n';

/** The same request to /v1/chat/completions, and what of it has no effect. Throws an ApiError that names the parameter. */
export function toChat(body: Body): { chat: ChatRequest; ignored: string[] } {
  const { system, tools: sent, thinking, output_config: config, max_tokens: maxTokens, stop_sequences: stop } = body;
  if (body.thread != null) throw threadsUnsupported();
  const { tools, tool_choice, parallel_tool_calls, ignored } = toolsOf(body, sent ?? []);
  const messages = conversation(body);
  const instructions = system == null ? '' : systemText(system);
  const last = messages.at(-1);
  if (!last) throw ApiError.invalid('messages', "Invalid 'messages': there is nothing to answer.");
  const thinks = thinking != null && thinking.type !== 'disabled';
  const format = config?.format ?? body.output_format;
  const chat: ChatRequest = {
    ...drawingOf(body),
    model: body.model,
    messages: instructions === '' ? messages : [{ role: 'system', content: instructions }, ...messages],
    max_completion_tokens: maxTokens,
    stop,
    stream: body.stream,
    tools,
    tool_choice,
    parallel_tool_calls,
    // The last message, if it is the assistant's, is the beginning of the answer.
    continue_final_message: last.role === 'assistant' && !last.tool_calls,
    thinking: { type: thinks ? 'enabled' : 'disabled' },
    // Programs read content[0] as the text where they did not ask for thinking.
    include_reasoning: thinks && thinking.display !== 'omitted',
    reasoning_effort: config?.effort,
    chat_template_kwargs: body.chat_template_kwargs,
    shoal: body.shoal,
    ...(format && { response_format: { type: 'json_schema', json_schema: { name: 'output', schema: format.schema } } }),
  };
  return { chat, ignored };
}

function toolsOf({ tool_choice: choice }: Body, sent: NonNullable<Body['tools']>) {
  const { supported, ignored } = supportedTools(sent, ({ type }) => type == null || type === 'custom');
  const tools = supported.map(({ name, description, input_schema: parameters, strict }) => ({
    type: 'function' as const,
    function: { name, description, parameters, strict },
  }));
  return {
    tools,
    tool_choice: toolChoice(choice),
    parallel_tool_calls: choice?.disable_parallel_tool_use ? false : undefined,
    ignored,
  };
}

function toolChoice(choice: Body['tool_choice']): ChatRequest['tool_choice'] {
  switch (choice?.type) {
    case undefined:
    case 'auto':
      return undefined;
    case 'none':
      return 'none';
    case 'any':
      return 'required';
    case 'tool':
      if (choice.name == null) throw ApiError.missing('tool_choice.name');
      return { type: 'function', function: { name: choice.name } };
    default:
      return choice?.type satisfies undefined;
  }
}

/** What blocks of each type must have, where a request has nothing in its place. */
const REQUIRED: Readonly<Partial<Record<MessageBlock['type'], readonly (keyof MessageBlock)[]>>> = {
  text: ['text'],
  thinking: ['thinking'],
  tool_use: ['id', 'name', 'input'],
  tool_result: ['tool_use_id'],
};

/** Blocks of the role that may have them. Throws an ApiError that names what is missing or misplaced. */
function checkedBlocks(role: string, content: Content, path: string): MessageBlock[] {
  const blocks = blocksOf(content);
  for (const [index, block] of blocks.entries()) {
    const place = `${path}.content[${index}]`;
    const owner = { tool_use: 'assistant', tool_result: 'user', thinking: 'assistant' }[block.type as string] ?? role;
    if (owner !== role) throw misplaced(place, block.type, owner);
    const absent = REQUIRED[block.type]?.find((name) => block[name] == null);
    if (absent !== undefined) throw ApiError.missing(`${place}.${absent}`);
  }
  return blocks;
}

function conversation(body: Body): ChatRequestMessage[] {
  const names = new CallNames();
  return body.messages.flatMap(({ role, content }, index): ChatRequestMessage[] => {
    const blocks = checkedBlocks(role, content, `messages[${index}]`);
    if (role === 'assistant') return [assistantMessage(blocks, names)];
    if (role === 'user') return userMessages(blocks, names);
    const text = systemText(blocks);
    return text === '' ? [] : [{ role, content: text }];
  });
}

function assistantMessage(blocks: readonly MessageBlock[], names: CallNames): ChatRequestMessage {
  const calls = blocks.filter(({ type }) => type === 'tool_use').map((block) => callOf(block, names));
  const reasoning = blocks.map(({ type, thinking }) => (type === 'thinking' ? thinking : '')).join('');
  return {
    role: 'assistant',
    // An answer of ours has several where calls or thoughts were between them.
    content: textOf(blocks, ''),
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}

function callOf({ id, name, input }: MessageBlock, names: CallNames) {
  names.add(id!, name!);
  return { id: id!, type: 'function' as const, function: { name: name!, arguments: input! } };
}

/** Results of calls are messages of their own; text around them keeps its place. */
function userMessages(blocks: readonly MessageBlock[], names: CallNames): ChatRequestMessage[] {
  const messages: ChatRequestMessage[] = [];
  let texts: MessageBlock[] = [];
  const endText = (): void => {
    if (texts.length > 0) messages.push({ role: 'user', content: textOf(texts, BETWEEN_BLOCKS) });
    texts = [];
  };
  for (const block of blocks) {
    if (block.type === 'tool_result') {
      endText();
      messages.push(toolMessage(block, names));
    } else texts.push(block);
  }
  endText();
  return messages.length > 0 ? messages : [{ role: 'user', content: '' }];
}

function toolMessage(block: MessageBlock, names: CallNames): ChatRequestMessage {
  const { tool_use_id: id, content, is_error: failed } = block;
  const text = content == null ? '' : textOf(content, BETWEEN_BLOCKS);
  // Chat templates have no mark for it.
  return names.result(id!, failed ? `Error: ${text}` : text);
}

/** Claude Code's, which is another one for each request, and would keep prompts from being started from earlier ones. */
const BILLING = /^x-anthropic-billing-header:/i;

function systemText(content: string | readonly TextLike[]): string {
  const blocks = typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content;
  return textOf(
    blocks.filter(({ text }) => !BILLING.test(text ?? '')),
    BETWEEN_BLOCKS,
  );
}

function blocksOf(content: Content): MessageBlock[] {
  return typeof content === 'string' ? [{ type: 'text', text: content }] : content;
}

type TextLike = Pick<MessageBlock, 'type' | 'text'>;

function textOf(content: string | readonly TextLike[], between: string): string {
  if (typeof content === 'string') return content;
  return content.flatMap(({ type, text }) => (type === 'text' && text ? [text] : [])).join(between);
}

/** By Anthropic's code, at which its client's tool runner goes on without threads. */
function threadsUnsupported(): ApiError {
  const message = "Invalid 'thread': conversations are not kept. Leave it out, and send all messages.";
  return ApiError.invalid('thread', message, 'thread_unsupported_request');
}

function misplaced(param: string, type: string, role: string): ApiError {
  return ApiError.invalid(param, `Invalid '${param}': a ${type} block belongs in a message with the role "${role}".`);
}
