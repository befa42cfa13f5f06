import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, isInteger, isText, matches } from './check.ts';
import { chat, type Client } from './servers.ts';

export const MESSAGES = '/v1/messages';
const COUNT = '/v1/messages/count_tokens';
const hello = [{ role: 'user', content: 'Say hello' }];
/** A request with one message. */
export const ask = (more: object = {}): object => ({ max_tokens: 50, messages: hello, seed: 1, ...more });
const schema = {
  type: 'object',
  properties: { location: { type: 'string', maxLength: 12 } },
  required: ['location'],
  additionalProperties: false,
};
const tools = [{ name: 'get_weather', description: 'The weather', input_schema: schema }];
export const CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Paris"}}\n</tool_call>';
export const roomy = { tools, max_tokens: 300 };

export const typesOf = (blocks: readonly { type: string }[]) => blocks.map(({ type }) => type);
const answered = async (client: Client, more: object) =>
  matches(await client.ok(MESSAGES, ask(more)), { type: 'message' });

/** Answers and counts of Anthropic's API. */
export const messages: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_messages_basic'),
      llama('test_compat_anthropic', 'test_anthropic_vs_openai_different_response_format'),
      vllm('anthropic/test_messages', 'test_simple_messages'),
    ],
    says: '`/v1/messages` answers with a message by the assistant, its blocks, a stop reason and usage, in Anthropic’s shape.',
    run: async ({ tiny }) => {
      const body = await tiny.ok(MESSAGES, ask());
      matches(body, { type: 'message', role: 'assistant', content: [{ type: 'text' }] });
      isText(body.content[0].text);
      assert.ok(['end_turn', 'max_tokens'].includes(body.stop_reason));
      isInteger(body.usage.input_tokens, 1);
      isInteger(body.usage.output_tokens, 1);
      for (const name of ['object', 'choices', 'timings']) assert.ok(!(name in body));
    },
  },
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_messages_basic'),
      vllm('anthropic/test_anthropic_messages_conversion', 'TestBuildAnthropicUsage.test_zero_cached_tokens'),
    ],
    says: 'Usage has `cache_read_input_tokens`.',
    run: async ({ tiny }) => isInteger((await tiny.ok(MESSAGES, ask())).usage.cache_read_input_tokens, 0),
  },
  {
    askedBy: [
      vllm('anthropic/test_cache_accounting', 'test_cache_accounting_non_streaming'),
      vllm('anthropic/test_cache_accounting', 'test_cache_accounting_streaming'),
      vllm('anthropic/test_anthropic_messages_conversion', 'TestBuildAnthropicUsage.test_cache_hit'),
    ],
    says: 'Asked the same again, usage tells how much of the prompt had been computed before.',
    differs: 'Prompts that begin alike share what is computed, but how much is not counted: it is 0 always.',
    run: async ({ tiny }) => {
      const long = { messages: [{ role: 'user', content: 'What is the capital of France? '.repeat(8) }] };
      await tiny.ok(MESSAGES, ask(long));
      isInteger((await tiny.ok(MESSAGES, ask(long))).usage.cache_read_input_tokens, 1);
    },
  },
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_messages_with_system'),
      vllm('anthropic/test_messages', 'test_system_message'),
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestAttributionHeaderStripping.test_system_string_unchanged',
      ),
    ],
    says: '`system` is the first message that the model reads.',
    run: async ({ scripted }) => {
      const server = await scripted('Hello!');
      await answered(server, { system: 'You are a helpful assistant.' });
      const first = { role: 'system', content: 'You are a helpful assistant.' };
      matches(server.conversation.messages, [first, ...hello]);
    },
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_messages_multipart_content')],
    says: 'Content may be a list of text blocks.',
    run: async ({ tiny }) => {
      const content = ['What is', ' the answer?'].map((text) => ({ type: 'text', text }));
      await answered(tiny, { messages: [{ role: 'user', content }] });
    },
  },
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_messages_conversation'),
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestThinkingBlockConversion.test_no_thinking_blocks_unchanged',
      ),
    ],
    says: 'A conversation of several turns reaches the model as it is.',
    run: async ({ scripted }) => {
      const server = await scripted('Well.');
      const turns = [...hello, { role: 'assistant', content: 'Hi there!' }, { role: 'user', content: 'How are you?' }];
      await answered(server, { messages: turns });
      matches(server.conversation.messages, turns);
      assert.ok(!('reasoning_content' in server.conversation.messages[1]));
    },
  },
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_count_tokens'),
      llama('test_compat_anthropic', 'test_anthropic_count_tokens_no_max_tokens'),
    ],
    says: '`/v1/messages/count_tokens` counts a prompt as an answer’s usage does, and needs no `max_tokens`.',
    run: async ({ tiny }) => {
      const body = await tiny.ok(COUNT, { messages: hello });
      assert.deepEqual(Object.keys(body), ['input_tokens']);
      assert.equal(body.input_tokens, (await tiny.ok(MESSAGES, ask())).usage.input_tokens);
    },
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_count_tokens_with_system')],
    says: 'The count includes `system`.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const [without, withSystem] = [{ messages: hello }, { messages: hello, system: 'You are helpful.' }];
      const count = async (body: object) => (await server.ok(COUNT, body)).input_tokens;
      assert.ok((await count(withSystem)) > (await count(without)));
    },
  },
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_tool_use_basic'),
      vllm('anthropic/test_messages', 'test_anthropic_tool_call'),
    ],
    says: 'A call is a `tool_use` block with an id, the name and the input as an object, and the reason is `tool_use`.',
    run: async ({ scripted }) => {
      const body = await (await scripted(CALL)).ok(MESSAGES, ask(roomy));
      const input = { location: 'Paris' };
      matches(body, { stop_reason: 'tool_use', content: [{ type: 'tool_use', name: 'get_weather', input }] });
      isText(body.content[0].id);
    },
  },
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_stop_sequences'),
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestStopSequenceReason.test_non_streaming_stop_string_maps_to_stop_sequence',
      ),
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestStopSequenceReason.test_streaming_stop_string_maps_to_stop_sequence',
      ),
    ],
    says: 'An answer that one of `stop_sequences` ended says which, whole and streamed.',
    run: async ({ scripted }) => {
      const server = await scripted('one\ntwo END');
      const asked = ask({ stop_sequences: ['END', '\n'] });
      const body = await server.ok(MESSAGES, asked);
      matches(body, { stop_reason: 'stop_sequence', stop_sequence: '\n', content: [{ text: 'one' }] });
      const end = (await server.stream(MESSAGES, asked)).find(({ data }) => data.type === 'message_delta');
      matches(end!.data.delta, { stop_reason: 'stop_sequence', stop_sequence: '\n' });
    },
  },
  {
    askedBy: [
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestStopSequenceReason.test_non_streaming_natural_eos_maps_to_end_turn',
      ),
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestStopSequenceReason.test_non_streaming_stop_token_id_maps_to_end_turn',
      ),
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestStopSequenceReason.test_streaming_no_stop_string_emits_explicit_null_stop_sequence',
      ),
    ],
    says: 'The model’s own end of its turn is `end_turn` with `stop_sequence: null`, whole and streamed.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: () => ({ ids: [104, 105], stopTokenId: 7 }) });
      matches(await server.ok(MESSAGES, ask()), { stop_reason: 'end_turn', stop_sequence: null });
      const end = (await server.stream(MESSAGES, ask())).find(({ data }) => data.type === 'message_delta');
      matches(end!.data.delta, { stop_reason: 'end_turn', stop_sequence: null });
    },
  },
  ...(
    [
      ['temperature', 0.5, { temperature: 0.5 }],
      ['top_p', 0.9, { topP: 0.9 }],
      ['top_k', 40, { topK: 40 }],
    ] as const
  ).map(([name, value, drawn]): Behaviour => ({
    askedBy: [llama('test_compat_anthropic', `test_anthropic_${name}`)],
    says: `\`${name}\` is taken.`,
    run: async ({ scripted }) => {
      const server = await scripted('x');
      await answered(server, { [name]: value });
      matches(server.submitted[0], drawn);
    },
  })),
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_metadata')],
    says: '`metadata` is taken.',
    run: ({ tiny }) => answered(tiny, { metadata: { user_id: 'test_user_123' }, max_tokens: 4 }),
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_missing_messages')],
    says: 'A request without messages is an error.',
    run: async ({ tiny }) => void (await tiny.refused(MESSAGES, { max_tokens: 50 })),
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_empty_messages')],
    says: 'An empty list of messages is answered.',
    differs: 'It is a 400, as in Anthropic’s API: there is nothing to answer.',
    run: ({ tiny }) => answered(tiny, { messages: [] }),
  },
  {
    askedBy: [
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestClientErrorResponses.test_validation_error_returns_bad_request',
      ),
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestClientErrorResponses.test_count_tokens_validation_error_returns_bad_request',
      ),
    ],
    says: 'A client’s fault is a 400 in Anthropic’s shape of errors, also when counting.',
    run: async ({ tiny }) => {
      for (const path of [MESSAGES, COUNT]) {
        const { status, body } = await tiny.post(path, ask({ stop_sequences: [5] }));
        assert.equal(status, 400);
        matches(body, { type: 'error' });
        isText(body.error.type);
        isText(body.error.message);
      }
    },
  },
  {
    askedBy: [
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestClientErrorResponses.test_generic_error_still_returns_internal_server_error',
      ),
    ],
    says: 'A fault of the server’s own is a 500 in the same shape.',
    run: async ({ scripted }) => {
      const server = await scripted({ says: () => ({ ids: [97], failAt: { index: 0, error: new Error('lost') } }) });
      const { status, body } = await server.post(MESSAGES, ask());
      assert.equal(status, 500);
      matches(body, { type: 'error', error: { type: 'api_error' } });
    },
  },
  {
    askedBy: [
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestMessagesFullConverter.test_empty_completion_emits_one_text_block',
      ),
    ],
    says: 'An empty answer has one text block without text.',
    run: async ({ scripted }) => {
      matches(await (await scripted('')).ok(MESSAGES, ask()), { content: [{ type: 'text', text: '' }] });
    },
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_thinking')],
    says: '`thinking` is taken by a model that does not think.',
    run: ({ tiny }) => answered(tiny, { thinking: { type: 'enabled', budget_tokens: 50 } }),
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_thinking_with_reasoning_model')],
    says: 'With `thinking` the thoughts are a block with a signature before the text.',
    run: async ({ scripted }) => {
      const server = await scripted('<think>\nTwo and two.\n</think>\n\nFour.');
      const body = await server.ok(MESSAGES, ask({ thinking: { type: 'enabled', budget_tokens: 500 } }));
      assert.deepEqual(typesOf(body.content), ['thinking', 'text']);
      assert.equal(body.content[0].thinking.trim(), 'Two and two.');
      assert.ok('signature' in body.content[0]);
      assert.equal(body.content[1].text, 'Four.');
    },
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_vs_openai_different_response_format')],
    says: '`/v1/chat/completions` answers the same question in OpenAI’s shape.',
    run: async ({ tiny }) => {
      const body = await tiny.ok('/v1/chat/completions', chat({}));
      matches(body, { object: 'chat.completion' });
      for (const name of ['prompt_tokens', 'completion_tokens']) isInteger(body.usage[name], 1);
    },
  },
];
