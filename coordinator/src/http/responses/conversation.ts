import { callArguments } from '../call-arguments.ts';
import { ApiError } from '../errors.ts';
import { CallNames } from '../requests/call-names.ts';
import type { ChatRequestMessage } from '../requests/chat-schema.ts';
import { flatName } from './namespaces.ts';
import type { InputItem, ItemPart } from './schema.ts';

/** Between two messages of the assistant in a row, which templates take as one. */
const BETWEEN_MESSAGES = '\n\n';

/** An assistant's turn while its items are put together. */
interface Turn {
  reasoning: string;
  content: string;
  calls: NonNullable<ChatRequestMessage['tool_calls']>;
}

/** Messages from items: what the assistant thought, said and called in a row is one message. */
export function conversationOf(items: readonly InputItem[]): ChatRequestMessage[] {
  const messages: ChatRequestMessage[] = [];
  const names = new CallNames();
  let turn: Turn | undefined;
  const endTurn = (): void => {
    if (turn) messages.push(assistantMessage(turn));
    turn = undefined;
  };
  for (const item of withoutCutCalls(items)) {
    if (isAssistants(item)) {
      turn ??= { reasoning: '', content: '', calls: [] };
      addToTurn(turn, item, names);
    } else {
      endTurn();
      const isResult = item.type === 'function_call_output';
      messages.push(isResult ? names.result(item.call_id!, textOf(item.output)) : plainMessage(item));
    }
  }
  endTurn();
  return messages;
}

/** Without calls that were cut off, and what was answered to them: templates refuse arguments that are not JSON. */
function withoutCutCalls(items: readonly InputItem[]): readonly InputItem[] {
  const isCut = ({ type, status, arguments: text }: InputItem): boolean =>
    type === 'function_call' && status === 'incomplete' && !callArguments(text ?? '');
  const cut = new Set(items.flatMap((item) => (isCut(item) ? [item.call_id] : [])));
  return cut.size === 0 ? items : items.filter(({ call_id: id }) => id == null || !cut.has(id));
}

function isAssistants({ type, role }: InputItem): boolean {
  return type === 'reasoning' || type === 'function_call' || role === 'assistant';
}

function addToTurn(turn: Turn, item: InputItem, names: CallNames): void {
  if (item.type === 'reasoning') {
    const content = textOf(item.content);
    turn.reasoning += content === '' ? textOf(item.summary) : content;
  } else if (item.type === 'function_call') {
    const { call_id: id, arguments: text } = item as { call_id: string; arguments: string };
    const name = flatName(item.name!, item.namespace);
    names.add(id, name);
    turn.calls.push({ id, type: 'function', function: { name, arguments: text } });
  } else {
    const text = textOf(item.content);
    turn.content += turn.content !== '' && text !== '' ? BETWEEN_MESSAGES + text : text;
  }
}

function assistantMessage({ reasoning, content, calls }: Turn): ChatRequestMessage {
  return {
    role: 'assistant',
    content,
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(calls.length > 0 && { tool_calls: calls }),
  };
}

function plainMessage({ role, content }: InputItem): ChatRequestMessage {
  return { role: role!, content: textOf(content) };
}

function textOf(content: string | readonly ItemPart[] | null | undefined): string {
  if (typeof content === 'string') return content;
  return (content ?? []).map(({ text, refusal }) => text ?? refusal ?? '').join('');
}

/** What each type of item must have. */
const REQUIRED: Readonly<Record<string, readonly (keyof InputItem)[]>> = {
  message: ['role', 'content'],
  function_call: ['call_id', 'name', 'arguments'],
  function_call_output: ['call_id', 'output'],
  item_reference: ['id'],
};

/** A client's items with their types. Throws an ApiError that names what is missing. */
export function checkedItems(items: readonly InputItem[]): InputItem[] {
  return items.map((item, index) => {
    const type = item.type ?? (item.role == null && item.id != null ? 'item_reference' : 'message');
    const absent = REQUIRED[type]?.find((name) => item[name] == null);
    if (absent !== undefined) throw ApiError.missing(`input[${index}].${absent}`);
    return { ...item, type };
  });
}
