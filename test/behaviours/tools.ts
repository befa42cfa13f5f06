import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, distinct, isText, matches, type Json } from './check.ts';
import { chat, type Client } from './servers.ts';

const CHAT = '/v1/chat/completions';
const parameters = {
  type: 'object',
  properties: { city: { type: 'string', maxLength: 12 }, state: { type: 'string', enum: ['TX', 'FL'] } },
  required: ['city', 'state'],
  additionalProperties: false,
};
const tool = (name: string, schema: object = parameters) => ({
  type: 'function',
  function: { name, description: 'd', parameters: schema },
});
const weather = tool('get_current_weather');
const search = tool('web_search', { type: 'object', properties: { query: { type: 'string' } }, required: ['query'] });
const tools = [weather, search];
const named = { type: 'function', function: { name: 'get_current_weather' } };
const DALLAS =
  '<tool_call>\n{"name": "get_current_weather", "arguments": {"city": "Dallas", "state": "TX"}}\n</tool_call>';
const ORLANDO =
  '<tool_call>\n{"name": "get_current_weather", "arguments": {"city": "Orlando", "state": "FL"}}\n</tool_call>';
const question = { role: 'user', content: 'What is the weather in Dallas?' };
const call = (id: string, city: string) => ({
  id,
  type: 'function',
  function: { name: 'get_current_weather', arguments: JSON.stringify({ city, state: 'TX' }) },
});
const result = (id: string, content: string) => ({ role: 'tool', tool_call_id: id, content });

interface Streamed {
  calls: { id: string; name: string; text: string }[];
  content: string;
  reasons: string[];
}

/** A streamed chat answer; checks that a call's id and name come once and whole. */
async function streamed(client: Client, body: object): Promise<Streamed> {
  const all: Streamed = { calls: [], content: '', reasons: [] };
  let roles = 0;
  for (const { choices } of await client.chunks(CHAT, chat(body))) {
    const [{ delta, finish_reason: reason }] = choices;
    if (delta.role !== undefined) roles++;
    all.content += delta.content ?? '';
    if (reason !== null) all.reasons.push(reason);
    for (const { index, id, function: piece } of delta.tool_calls ?? []) {
      assert.equal(id !== undefined, all.calls[index] === undefined);
      assert.equal(piece.name !== undefined, id !== undefined);
      all.calls[index] ??= { id, name: piece.name, text: '' };
      all.calls[index].text += piece.arguments ?? '';
    }
  }
  assert.equal(roles, 1);
  assert.equal(all.reasons.length, 1);
  return all;
}

/** Calls, results and choices of tools. */
export const toolCalls: readonly Behaviour[] = [
  {
    askedBy: [
      vllm('tool_use/test_tool_calls', 'test_tool_call_and_choice'),
      llama('test_tool_call', 'test_weather'),
      vllm('chat_completion/test_completion_with_function_calling', 'test_function_tool_use'),
    ],
    says: 'A call has an id, a type, the tool’s name and its arguments as JSON text, and the answer ends with `tool_calls`.',
    run: async ({ scripted }) => {
      const server = await scripted(DALLAS);
      const { message, finish_reason: reason } = await server.chat({ tools, max_tokens: 200 });
      assert.equal(reason, 'tool_calls');
      matches(message, { role: 'assistant', tool_calls: [{ type: 'function' }] });
      const [made] = message.tool_calls;
      assert.ok(made.id.length >= 9);
      assert.equal(made.function.name, 'get_current_weather');
      assert.deepEqual(JSON.parse(made.function.arguments), { city: 'Dallas', state: 'TX' });
    },
  },
  {
    askedBy: [
      vllm('tool_use/test_tool_calls', 'test_tool_call_and_choice'),
      llama('test_tool_call', 'test_hello_world'),
    ],
    says: 'The stream of a call has its id and its name once and whole, and arguments that make the same JSON.',
    run: async ({ scripted }) => {
      const { calls, reasons } = await streamed(await scripted(DALLAS), { tools, max_tokens: 200 });
      assert.deepEqual(reasons, ['tool_calls']);
      matches(calls, [{ name: 'get_current_weather' }]);
      assert.deepEqual(JSON.parse(calls[0]!.text), { city: 'Dallas', state: 'TX' });
    },
  },
  {
    askedBy: [vllm('tool_use/test_parallel_tool_calls', 'test_parallel_tool_calls')],
    says: 'Two calls of one answer have their own ids, whole and streamed.',
    run: async ({ scripted }) => {
      const server = await scripted(`${DALLAS}\n${ORLANDO}`);
      const asked = { tools, max_tokens: 400 };
      const { message, finish_reason: reason } = await server.chat(asked);
      assert.equal(reason, 'tool_calls');
      const made = message.tool_calls.map(({ function: { name, arguments: text } }: Json) => [name, JSON.parse(text)]);
      assert.equal(made.length, 2);
      for (const { id } of message.tool_calls) assert.ok(id.length > 16);
      assert.equal(distinct(message.tool_calls.map(({ id }: Json) => id)), 2);
      const { calls } = await streamed(server, asked);
      assert.deepEqual(
        calls.map(({ name, text }) => [name, JSON.parse(text)]),
        made,
      );
    },
  },
  {
    askedBy: [
      vllm('tool_use/test_chat_completions', 'test_chat_completion_without_tools'),
      vllm('tool_use/test_chat_completions', 'test_chat_completion_with_tools'),
      llama('test_tool_call', 'test_completion_without_tool_call_fast'),
    ],
    says: 'An answer without calls is content, with tools and without, whole and streamed.',
    run: async ({ scripted }) => {
      const server = await scripted('Hello, world!');
      for (const more of [{}, { tools: null }, { tools }]) {
        const { message, finish_reason: reason } = await server.chat({ ...more, temperature: 0 });
        assert.equal(reason, 'stop');
        assert.equal(message.content, 'Hello, world!');
        assert.equal(message.tool_calls, undefined);
        const { content, calls, reasons } = await streamed(server, { ...more, temperature: 0 });
        assert.deepEqual([content, calls, reasons], ['Hello, world!', [], ['stop']]);
      }
    },
  },
  {
    askedBy: [
      llama('test_tool_call', 'test_completion_without_tool_call_fast'),
      vllm('chat_completion/test_tool_choice_null', 'test_explicit_none_tool_choice_is_untouched'),
    ],
    says: 'With `tool_choice: "none"` nothing is a call.',
    run: async ({ scripted }) => {
      const server = await scripted(DALLAS);
      const { message, finish_reason: reason } = await server.chat({ tools, tool_choice: 'none', max_tokens: 200 });
      assert.equal(reason, 'stop');
      assert.equal(message.tool_calls, undefined);
    },
  },
  {
    askedBy: [
      vllm('tool_use/test_tool_calls', 'test_tool_call_with_results'),
      llama('test_tool_call', 'test_calc_result'),
    ],
    says: 'A call with `content: null` and its result go back to the model, which answers with content.',
    run: async ({ scripted }) => {
      const server = await scripted('98 degrees.');
      const messages = [
        question,
        { role: 'assistant', content: null, tool_calls: [call('call_6789', 'Dallas')] },
        { ...result('call_6789', '98 degrees'), name: 'get_current_weather' },
      ];
      const { message } = await server.chat({ messages, tools });
      matches(message, { content: '98 degrees.' });
      assert.equal(message.tool_calls, undefined);
      matches(server.conversation.messages, messages);
      assert.equal((await streamed(server, { messages, tools })).content, '98 degrees.');
    },
  },
  {
    askedBy: [vllm('tool_use/test_parallel_tool_calls', 'test_parallel_tool_calls_with_results')],
    says: 'Two calls and their results go back to the model.',
    run: async ({ scripted }) => {
      const server = await scripted('98 and 78.');
      const messages = [
        question,
        { role: 'assistant', content: null, tool_calls: [call('a', 'Dallas'), call('b', 'Orlando')] },
        result('a', '98'),
        result('b', '78'),
      ];
      await server.chat({ messages, tools });
      matches(server.conversation.messages.slice(1), messages.slice(1));
    },
  },
  {
    askedBy: [vllm('chat_completion/test_completion_with_function_calling', 'test_no_args_tool_call')],
    says: 'A call without arguments may come back with `{}` or an empty text.',
    run: async ({ scripted }) => {
      const server = await scripted('Noon.');
      for (const text of ['{}', '']) {
        const made = { id: 'c', type: 'function', function: { name: 'get_current_time', arguments: text } };
        const messages = [question, { role: 'assistant', content: null, tool_calls: [made] }, result('c', '12:00')];
        isText((await server.chat({ messages })).message.content);
        matches(server.conversation.messages[1], { tool_calls: [{ function: { arguments: '{}' } }] });
      }
    },
  },
  {
    askedBy: [llama('test_tool_call', 'test_malformed_tool_call_args_rejected')],
    says: 'An earlier call whose arguments are no JSON is a 400 that names the message.',
    differs:
      'Models write such calls, and `max_tokens` cuts calls off; the conversation goes on, as with OpenAI’s API.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const made = { id: 'call_123', type: 'function', function: { name: 'test', arguments: '{' } };
      const messages = [question, { role: 'assistant', content: null, tool_calls: [made] }, question];
      const error = await server.refused(CHAT, chat({ messages }));
      assert.equal(error.type, 'invalid_request_error');
      assert.match(error.message, /messages\[1\]/);
    },
  },
  {
    askedBy: [
      vllm('tool_use/test_tool_choice_required', 'test_structured_outputs_json'),
      llama('test_tool_call', 'test_completion_with_required_tool_real_model'),
      vllm('chat_completion/test_completion_with_function_calling', 'test_function_tool_use'),
    ],
    says: 'With `tool_choice: "required"` there is a call of one of the tools, with the required arguments and no others.',
    run: async ({ tiny }) => {
      const city = { type: 'object', properties: { city: { enum: ['Oslo'] } }, required: ['city'] };
      const asked = { tools: [tool('forecast', city)], tool_choice: 'required', parallel_tool_calls: false };
      const limits = { max_tokens: 300, temperature: 1, seed: 3 };
      const { message, finish_reason: reason } = await tiny.chat({ ...asked, ...limits });
      assert.equal(reason, 'tool_calls');
      assert.ok((message.content ?? '').trim() === '');
      matches(message.tool_calls, [{ function: { name: 'forecast' } }]);
      assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { city: 'Oslo' });
      const { calls, reasons } = await streamed(tiny, { ...asked, ...limits });
      assert.deepEqual(reasons, ['tool_calls']);
      assert.deepEqual(JSON.parse(calls[0]!.text), { city: 'Oslo' });
    },
  },
  {
    askedBy: [
      vllm('tool_use/test_tool_choice_required', 'test_structured_outputs_json_without_parameters'),
      llama('test_tool_call', 'test_completion_with_required_tool_real_model'),
    ],
    says: 'A required call of a tool without parameters has an empty object.',
    run: async ({ tiny }) => {
      for (const schema of [null, {}]) {
        const one = { type: 'function', function: { name: 'now', ...(schema && { parameters: schema }) } };
        const asked = { tools: [one], tool_choice: 'required', parallel_tool_calls: false, max_tokens: 300 };
        const { message } = await tiny.chat({ ...asked, temperature: 0 });
        matches(message.tool_calls, [{ function: { name: 'now' } }]);
        assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), {});
      }
    },
  },
  {
    askedBy: [vllm('chat_completion/test_completion_with_function_calling', 'test_named_tool_use')],
    says: 'A named tool is called, without content, whole and streamed, and its arguments fit its schema.',
    run: async ({ tiny }) => {
      const asked = { tools, tool_choice: named, parallel_tool_calls: false, max_tokens: 300, temperature: 1, seed: 5 };
      const fits = (text: string) => {
        const value = JSON.parse(text);
        assert.deepEqual(Object.keys(value).sort(), ['city', 'state']);
        assert.ok(['TX', 'FL'].includes(value.state) && value.city.length <= 12);
      };
      const { message } = await tiny.chat(asked);
      assert.ok((message.content ?? '') === '');
      fits(message.tool_calls[0].function.arguments);
      const { calls, content } = await streamed(tiny, asked);
      assert.equal(content, '');
      fits(calls[0]!.text);
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_completion_with_function_calling', 'test_max_tokens_with_tool_choice_required'),
    ],
    says: 'A required call that `max_tokens` cuts off before its name is no call and no content, and the reason is `length`.',
    run: async ({ tiny }) => {
      for (const tool_choice of ['required', named]) {
        const { message, finish_reason: reason } = await tiny.chat({
          tools,
          tool_choice,
          max_tokens: 1,
          temperature: 0,
        });
        assert.equal(reason, 'length');
        assert.equal(message.tool_calls?.length ?? 0, 0);
        assert.equal(message.content ?? '', '');
      }
    },
  },
  {
    askedBy: [vllm('chat_completion/test_completion_with_function_calling', 'test_inconsistent_tool_choice_and_tools')],
    says: 'A choice of a tool that was not sent, or of no kind, is a 400.',
    run: async ({ tiny }) => {
      await tiny.refused(CHAT, chat({ tool_choice: named }));
      for (const tool_choice of [{ type: 'function', function: { name: 'nondefined' } }, {}]) {
        await tiny.refused(CHAT, chat({ tools, tool_choice }));
      }
    },
  },
  {
    askedBy: [vllm('chat_completion/test_tool_choice_null', 'test_invalid_tool_choice_is_still_rejected')],
    says: 'A choice that is no known word is a 400.',
    run: async ({ tiny }) => void (await tiny.refused(CHAT, chat({ tools, tool_choice: 'bogus' }))),
  },
  {
    askedBy: [
      vllm(
        'tool_use/test_chat_completion_request_validations',
        'test_chat_completion_request_with_tool_choice_but_no_tools',
      ),
    ],
    says: '`tool_choice: "required"` without tools is a 400.',
    run: async ({ tiny }) => {
      for (const more of [{}, { tools: null }]) {
        await tiny.refused(CHAT, chat({ tool_choice: 'required', ...more }));
      }
    },
  },
  {
    askedBy: [
      vllm(
        'tool_use/test_chat_completion_request_validations',
        'test_chat_completion_request_with_tool_choice_but_no_tools',
      ),
      vllm('chat_completion/test_tool_choice_null', 'test_invalid_tool_choice_is_still_rejected'),
    ],
    says: '`tool_choice: "auto"` without tools is a 400.',
    differs: 'Agents send it always. Without tools no call is possible, so it changes nothing.',
    run: async ({ tiny }) => void (await tiny.refused(CHAT, chat({ tool_choice: 'auto' }))),
  },
  {
    askedBy: [vllm('tool_use/test_chat_completion_request_validations', 'test_chat_completion_request_with_no_tools')],
    says: 'An empty list of tools is a 400.',
    differs: 'Agents that have no tools send it, and llama.cpp takes it too. It is the same as none.',
    run: async ({ tiny }) => void (await tiny.refused(CHAT, chat({ tools: [] }))),
  },
  {
    askedBy: [
      vllm('chat_completion/test_tool_choice_null', 'test_null_tool_choice_defaults_to_auto_like_an_absent_one'),
      vllm('chat_completion/test_tool_choice_null', 'test_null_tool_choice_without_tools_matches_an_absent_one'),
    ],
    says: '`tool_choice: null` is the same as none given: the model chooses.',
    run: async ({ scripted }) => {
      const server = await scripted(DALLAS);
      for (const more of [{ tool_choice: null }, {}]) {
        matches(await server.chat({ tools, max_tokens: 200, ...more }), { finish_reason: 'tool_calls' });
        matches(await server.chat({ max_tokens: 200, ...more }), { finish_reason: 'stop' });
      }
    },
  },
  {
    askedBy: [
      vllm('tool_use/test_tool_choice_required', 'test_streaming_output_valid_with_braces_in_string'),
      vllm('tool_use/test_tool_choice_required', 'test_streaming_output_valid'),
    ],
    says: 'Braces, quotes and backslashes in arguments come through a stream as they are.',
    run: async ({ scripted }) => {
      for (const city of ['a { b', 'a } b', 'a }} b', 'a " } b', 'a \\ } b']) {
        const made = JSON.stringify({ name: 'get_current_weather', arguments: { city } });
        const { calls } = await streamed(await scripted(`<tool_call>\n${made}\n</tool_call>`), {
          tools,
          max_tokens: 200,
        });
        assert.deepEqual(JSON.parse(calls[0]!.text), { city });
      }
    },
  },
];
