import type { Caller } from '../caller.ts';
import type { Endpoint, PlainEndpoint } from '../endpoint.ts';
import { ApiError } from '../errors.ts';
import { countPrompt } from '../requests/count-prompt.ts';
import { parseChat } from '../requests/parse-chat.ts';
import { renamed } from '../requests/renamed.ts';
import { checkedItems } from './conversation.ts';
import { newId } from './items.ts';
import {
  type InputItem,
  type InputTokensRequest,
  inputTokensRequestSchema,
  type ResponsesRequest,
  responsesRequestSchema,
} from './schema.ts';
import { responseShape } from './shape.ts';
import {
  conversationAfter,
  type Found,
  type ItemReader,
  type ResponseStore,
  type StoredItem,
  type StoredResponse,
} from './store.ts';
import { promptToChat, toChat } from './to-chat.ts';

/** What /v1/chat/completions calls other than /v1/responses. */
const NAMES = {
  messages: 'input',
  max_completion_tokens: 'max_output_tokens',
  response_format: 'text.format',
  'response_format.json_schema.schema': 'text.format.schema',
  reasoning_effort: 'reasoning.effort',
};

/** OpenAI's Responses API. */
export function responses(store: ResponseStore, maxContext: number): Endpoint<ResponsesRequest> {
  return {
    url: '/v1/responses',
    schema: responsesRequestSchema,
    read(body, caller) {
      const { previous, input, conversation } = readInput(body, store, caller);
      const { chat, tools, namespaces, ignored } = toChat(body, conversation, maxContext);
      return {
        parse: (deps, client) => renamed(NAMES, () => parseChat(chat, deps, client)),
        shape: responseShape({
          body,
          tools,
          namespaces,
          keep: (response) => store.add(response as unknown as StoredResponse, input, previous, caller),
        }),
        ignored,
      };
    },
  };
}

/** How many tokens the prompt of an answer has. */
export function countInput(store: ResponseStore): PlainEndpoint<InputTokensRequest> {
  return {
    url: '/v1/responses/input_tokens',
    schema: inputTokensRequestSchema,
    read(body, caller) {
      const { chat, ignored } = promptToChat(body, readInput(body, store, caller).conversation);
      return {
        async answer(deps, client) {
          const tokens = await renamed(NAMES, () => countPrompt(chat, deps, client));
          return { object: 'response.input_tokens', input_tokens: tokens };
        },
        ignored,
      };
    },
  };
}

interface Input {
  previous: Found | undefined;
  /** What the request adds to the conversation. */
  input: StoredItem[];
  /** All that the answer is made from. */
  conversation: InputItem[];
}

function readInput(body: InputTokensRequest, store: ResponseStore, { scope }: Caller): Input {
  const { previous_response_id: id } = body;
  const previous = id == null ? undefined : store.find(id, scope);
  if (id != null && !previous) throw unknownPrevious();
  if (body.input == null && !previous && !body.instructions) {
    throw ApiError.missing('input');
  }
  const items: InputItem[] =
    typeof body.input === 'string' ? [{ type: 'message', role: 'user', content: body.input }] : (body.input ?? []);
  const reader = store.reader(scope);
  const input = checkedItems(items).map((item, index) =>
    item.type === 'item_reference' ? referredTo(item.id!, index, reader) : storedItem(item),
  );
  const before = previous ? conversationAfter(previous) : [];
  return { previous, input, conversation: [...before, ...input] as InputItem[] };
}

const PREFIXES: Readonly<Record<string, string>> = {
  function_call: 'fc_',
  function_call_output: 'fco_',
  reasoning: 'rs_',
};

/** As OpenAI lists items: with an id, and texts as parts. */
function storedItem(item: InputItem): StoredItem {
  const { type, role, content } = item;
  const textType = role === 'assistant' ? 'output_text' : 'input_text';
  const parts = typeof content === 'string' ? [{ type: textType, text: content }] : content;
  return { ...item, id: item.id ?? newId(PREFIXES[type!] ?? 'msg_'), ...(parts != null && { content: parts }) };
}

function referredTo(id: string, index: number, reader: ItemReader): StoredItem {
  const item = reader.item(id);
  const param = `input[${index}].id`;
  if (item === 'too-large') {
    throw ApiError.invalid(
      param,
      'The items that are referred to have more bytes than a conversation may. Refer to fewer.',
    );
  }
  if (item) return item;
  const message = 'This item is not stored, or no longer. Send the item itself in place of its id.';
  throw new ApiError(404, message, { param, code: 'item_not_found' });
}

/** With OpenAI's status and code. The same for an answer of somebody else. */
function unknownPrevious(): ApiError {
  return ApiError.invalid(
    'previous_response_id',
    'Previous response not found: it is not stored, or no longer. Send the whole conversation as input.',
    'previous_response_not_found',
  );
}
