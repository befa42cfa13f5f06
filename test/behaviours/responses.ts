import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, isInteger, isText, matches, type Json } from './check.ts';
import { type Client, STORY } from './servers.ts';

const RESPONSES = '/v1/responses';
const SIMPLE = 'responses/test_simple';
const BASIC = 'responses/test_basic';
const CALLS = 'responses/test_function_call';
const parameters = {
  type: 'object',
  properties: { location: { enum: ['Berlin'] } },
  required: ['location'],
  additionalProperties: false,
};
const tool = { type: 'function', name: 'get_weather', description: 'd', parameters, strict: true };
const CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Berlin"}}\n</tool_call>';
const THOUGHT = '<think>\nA cat.\n</think>\n\nOnce there was a cat.';
const story = { input: STORY, max_output_tokens: 8, seed: 1 };

/** What ends what, for events that come in pairs. */
const PAIRS: Readonly<Record<string, string>> = {
  'response.output_item.done': 'response.output_item.added',
  'response.content_part.done': 'response.content_part.added',
  'response.output_text.done': 'response.output_text.delta',
  'response.reasoning_text.done': 'response.reasoning_text.delta',
  'response.function_call_arguments.done': 'response.function_call_arguments.delta',
};

/** A stream's events; checks names, order, nesting, and that all events of an item name it. */
export async function eventsOf(client: Client, body: object): Promise<Json[]> {
  const events = (await client.stream(RESPONSES, body)).filter(({ data }) => data !== '[DONE]');
  for (const { name, data } of events) assert.equal(name, data.type);
  const all = events.map(({ data }) => data);
  assert.equal(all[0].type, 'response.created');
  assert.match(all.at(-1).type, /^response\.(completed|incomplete)$/);
  const open: string[] = [];
  let item: string | undefined;
  for (const { type, item_id: id, item: whole } of all) {
    if (type === 'response.output_item.added') item = whole.id;
    if (id !== undefined) assert.equal(id, item);
    if (type === 'response.output_item.done') assert.equal(whole.id, item);
    if (Object.values(PAIRS).includes(type)) {
      if (!type.endsWith('delta') || open.at(-1) !== type) open.push(type);
    } else if (PAIRS[type] !== undefined) {
      assert.equal(open.pop(), PAIRS[type]);
    }
  }
  assert.deepEqual(open, []);
  return all;
}

const textOf = (response: Json): string => response.output.at(-1).content[0].text;

/** Answers of OpenAI's newer API. */
export const responses: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_compat_oai_responses', 'test_responses_with_openai_library'),
      vllm(BASIC, 'test_simple_input'),
      vllm(BASIC, 'test_chat'),
    ],
    says: 'An answer has the id `resp_…` and a message with the id `msg_…` and the text, to a text or to messages.',
    run: async ({ tiny }) => {
      const messages = [
        { role: 'system', content: 'Book' },
        { role: 'user', content: STORY },
        { role: 'assistant', content: 'There was' },
        { role: 'user', content: ' a boy' },
      ];
      for (const input of [STORY, messages]) {
        const body = await tiny.ok(RESPONSES, { ...story, input, temperature: 0.8 });
        assert.match(body.id, /^resp_/);
        matches(body.output, [{ type: 'message', role: 'assistant', content: [{ type: 'output_text' }] }]);
        assert.match(body.output[0].id, /^msg_/);
        isText(textOf(body));
      }
    },
  },
  {
    askedBy: [vllm(SIMPLE, 'test_basic')],
    says: 'An answer that ended by itself is `completed` without details; `reasoning.effort` is taken.',
    run: async ({ scripted }) => {
      const server = await scripted('56088');
      const body = await server.ok(RESPONSES, { input: 'What is 123 * 456?', reasoning: { effort: 'none' } });
      matches(body, { status: 'completed', incomplete_details: null });
    },
  },
  {
    askedBy: [vllm(BASIC, 'test_instructions')],
    says: '`instructions` reach the model before the input.',
    run: async ({ scripted }) => {
      const server = await scripted('312 QED');
      await server.ok(RESPONSES, { instructions: 'Finish the answer with QED.', input: 'What is 13 * 24?' });
      matches(server.conversation.messages, [
        { role: 'system', content: 'Finish the answer with QED.' },
        { role: 'user', content: 'What is 13 * 24?' },
      ]);
    },
  },
  {
    askedBy: [vllm(BASIC, 'test_chat_with_input_type')],
    says: 'Messages may have parts of the type `input_text`.',
    run: async ({ scripted }) => {
      const server = await scripted('Hi.');
      const input = [{ role: 'user', content: [{ type: 'input_text', text: 'Hello!' }] }];
      matches(await server.ok(RESPONSES, { input }), { status: 'completed' });
      matches(server.conversation.messages, [{ role: 'user', content: 'Hello!' }]);
    },
  },
  {
    askedBy: [vllm(SIMPLE, 'test_max_tokens')],
    says: 'An answer that was cut off is `incomplete` for `max_output_tokens`.',
    run: async ({ tiny }) => {
      const body = await tiny.ok(RESPONSES, { ...story, ignore_eos: true });
      matches(body, { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } });
    },
  },
  {
    askedBy: [
      vllm(SIMPLE, 'test_extra_sampling_params'),
      vllm('responses/test_sampling_params', 'TestResponsesRequestSamplingParams.test_extra_sampling_params'),
    ],
    says: '`top_k`, `repetition_penalty`, `seed` and `ignore_eos` are taken beside OpenAI’s parameters.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const sent = { top_k: 40, repetition_penalty: 1.2, seed: 42, ignore_eos: true, temperature: 0.7, top_p: 0.9 };
      await server.ok(RESPONSES, { ...story, ...sent });
      matches(server.submitted[0], { topK: 40, repetitionPenalty: 1.2, seed: 42, ignoreEos: true, topP: 0.9 });
    },
  },
  {
    askedBy: [
      vllm('responses/test_sampling_params', 'TestResponsesRequestSamplingParams.test_stop_string_conversion'),
      vllm('responses/test_sampling_params', 'TestResponsesRequestSamplingParams.test_extra_sampling_params'),
    ],
    says: '`stop` ends an answer.',
    run: async ({ scripted }) => {
      const server = await scripted('one STOP two');
      for (const stop of ['STOP', ['END', 'STOP']]) {
        assert.equal(textOf(await server.ok(RESPONSES, { ...story, max_output_tokens: 50, stop })), 'one ');
      }
    },
  },
  {
    askedBy: [
      llama('test_compat_oai_responses', 'test_responses_stream_with_openai_library'),
      vllm(BASIC, 'test_streaming'),
      vllm(SIMPLE, 'test_streaming_output_consistency'),
    ],
    says: 'A stream has one id for the answer and one for its message, from created to completed, and its pieces make the text.',
    run: async ({ scripted }) => {
      const server = await scripted('Suddenly it rained.');
      const events = await eventsOf(server, { input: 'x' });
      matches(events.at(-1), { type: 'response.completed', response: { status: 'completed' } });
      const { response } = events.at(-1);
      for (const event of events) if (event.response) assert.equal(event.response.id, response.id);
      assert.match(response.id, /^resp_/);
      assert.match(response.output[0].id, /^msg_/);
      const pieces = events.filter(({ type }) => type === 'response.output_text.delta');
      assert.equal(pieces.map(({ delta }) => delta).join(''), textOf(response));
      assert.equal(textOf(response), 'Suddenly it rained.');
    },
  },
  {
    askedBy: [
      llama('test_compat_oai_responses', 'test_responses_stream_with_openai_library'),
      vllm(BASIC, 'test_streaming'),
    ],
    says: 'OpenAI’s client reads the stream.',
    run: async ({ tiny }) => {
      const asked = { model: 'tiny-stories', ...story, stream: true } as const;
      let text = '';
      let final = '';
      for await (const event of await tiny.openai.responses.create(asked)) {
        if (event.type === 'response.output_text.delta') text += event.delta;
        if (event.type === 'response.completed' || event.type === 'response.incomplete') {
          final = textOf(event.response);
        }
      }
      isText(text);
      assert.equal(text, final);
    },
  },
  {
    askedBy: [vllm(SIMPLE, 'test_streaming_types'), vllm(CALLS, 'test_function_calling_with_streaming_types')],
    says: 'Events of an item, its parts and its pieces are nested, and all are ended, with reasoning and with calls.',
    run: async ({ scripted }) => {
      const thought = await eventsOf(await scripted(THOUGHT), { input: 'x', tools: [], background: false });
      const kinds = (events: Json[]) =>
        events.filter(({ type }) => type === 'response.output_item.done').map(({ item }) => item.type);
      assert.deepEqual(kinds(thought), ['reasoning', 'message']);
      assert.deepEqual(kinds(await eventsOf(await scripted(CALL), { input: 'x', tools: [tool] })), ['function_call']);
    },
  },
  {
    askedBy: [vllm(BASIC, 'test_simple_input')],
    says: 'Reasoning is an item of its own before the message, with its text.',
    run: async ({ scripted }) => {
      const { output } = await (await scripted(THOUGHT)).ok(RESPONSES, { input: 'x' });
      matches(output, [{ type: 'reasoning', content: [{ type: 'reasoning_text' }] }, { type: 'message' }]);
      assert.equal(output[0].content[0].text.trim(), 'A cat.');
    },
  },
  {
    askedBy: [vllm(SIMPLE, 'test_non_streaming_reasoning_tokens_e2e')],
    says: 'Usage counts the tokens of reasoning.',
    run: async ({ scripted }) => {
      const { usage } = await (await scripted(THOUGHT)).ok(RESPONSES, { input: 'x', reasoning: { effort: 'low' } });
      isInteger(usage.output_tokens_details.reasoning_tokens, 1);
    },
  },
  {
    askedBy: [vllm(SIMPLE, 'test_streaming_reasoning_tokens_e2e')],
    says: 'The usage of a stream counts the tokens of reasoning.',
    run: async ({ scripted }) => {
      const events = await eventsOf(await scripted(THOUGHT), { input: 'x', reasoning: { effort: 'low' } });
      isInteger(events.at(-1).response.usage.output_tokens_details.reasoning_tokens, 1);
    },
  },
  {
    askedBy: [vllm(BASIC, 'test_logprobs')],
    says: 'Log-probabilities come with the text where `include` and `top_logprobs` ask for them.',
    run: async ({ tiny }) => {
      const include = ['message.output_text.logprobs'];
      const { output } = await tiny.ok(RESPONSES, { ...story, include, top_logprobs: 5 });
      const [first] = output[0].content[0].logprobs;
      assert.equal(first.top_logprobs.length, 5);
    },
  },
  {
    askedBy: [vllm(SIMPLE, 'test_streaming_logprobs')],
    says: 'They come with the pieces of a stream too.',
    run: async ({ tiny }) => {
      const include = ['message.output_text.logprobs'];
      const events = await eventsOf(tiny, { ...story, include, top_logprobs: 3 });
      const pieces = events.filter(({ type }) => type === 'response.output_text.delta');
      const entries = pieces.flatMap(({ logprobs }) => logprobs);
      assert.ok(entries.length > 0);
      for (const { token, logprob, top_logprobs: top } of entries) {
        assert.equal(typeof token, 'string');
        assert.ok(logprob <= 0 && top.length <= 3);
      }
      assert.ok(entries.some(({ top_logprobs: top }) => top.length > 0));
    },
  },
  {
    askedBy: [
      llama('test_compat_oai_responses', 'test_responses_with_text_format'),
      vllm('responses/test_structured_output', 'test_structured_output'),
      vllm('responses/test_structured_output', 'test_structured_output_with_parse'),
      vllm(
        'responses/test_sampling_params',
        'TestResponsesRequestSamplingParams.test_text_format_json_object_enables_structured_outputs',
      ),
    ],
    says: '`text.format` gives JSON that fits a schema, or a JSON object, or changes nothing.',
    run: async ({ tiny }) => {
      const ask = async (format: object) =>
        textOf(
          await tiny.ok(RESPONSES, { input: 'Write an example', max_output_tokens: 120, seed: 1, text: { format } }),
        );
      const fixed = await ask({ type: 'json_schema', name: 'test', schema: { const: 'foooooo' } });
      assert.equal(JSON.parse(fixed), 'foooooo');
      const properties = { date: { enum: ['Friday'] } };
      const schema = { type: 'object', properties, required: ['date'], additionalProperties: false };
      const event = await ask({ type: 'json_schema', name: 'event', schema, strict: true, description: 'An event.' });
      matches(JSON.parse(event), { date: 'Friday' });
      assert.match(await ask({ type: 'json_object' }), /^\s*\{/);
      isText(await ask({ type: 'text' }));
    },
  },
  {
    askedBy: [llama('test_compat_oai_responses', 'test_responses_with_text_format')],
    says: '`text.format` `json_schema` without a schema is a 400.',
    run: async ({ tiny }) => {
      await tiny.refused(RESPONSES, { input: 'x', text: { format: { type: 'json_schema', name: 'test' } } });
    },
  },
  {
    askedBy: [
      vllm(
        'responses/test_sampling_params',
        'TestResponsesRequestSamplingParams.test_structured_outputs_passed_through',
      ),
      vllm(
        'responses/test_sampling_params',
        'TestResponsesRequestSamplingParams.test_structured_outputs_and_json_schema_conflict',
      ),
    ],
    says: 'vLLM’s `structured_outputs` is taken, and refused beside a `text.format`.',
    run: async ({ tiny }) => {
      const structured_outputs = { grammar: 'root ::= "hello"' };
      assert.equal(textOf(await tiny.ok(RESPONSES, { ...story, structured_outputs })), 'hello');
      const text = { format: { type: 'json_schema', name: 'test', schema: { type: 'object' } } };
      await tiny.refused(RESPONSES, { ...story, structured_outputs, text });
    },
  },
  {
    askedBy: [vllm(CALLS, 'test_function_tool_use')],
    says: 'A call is an item with the tool’s name and its arguments as JSON, after the reasoning.',
    run: async ({ scripted }) => {
      const server = await scripted(`<think>\nBerlin.\n</think>\n\n${CALL}`);
      for (const tool_choice of ['auto', 'required']) {
        const { output } = await server.ok(RESPONSES, { input: 'x', tools: [tool], tool_choice });
        matches(output, [{ type: 'reasoning' }, { type: 'function_call', name: 'get_weather' }]);
        assert.deepEqual(JSON.parse(output[1].arguments), { location: 'Berlin' });
      }
    },
  },
  {
    askedBy: [vllm(CALLS, 'test_named_tool_use')],
    says: 'A named tool is called, and its result goes back with the call and is answered.',
    run: async ({ tiny }) => {
      const question = { role: 'user', content: 'What is the weather?' };
      const tool_choice = { type: 'function', name: 'get_weather' };
      const asked = { tools: [tool], tool_choice, parallel_tool_calls: false, temperature: 0 };
      const { output } = await tiny.ok(RESPONSES, { input: [question], ...asked });
      const call = output.find(({ type }: Json) => type === 'function_call');
      assert.equal(call.name, 'get_weather');
      assert.deepEqual(JSON.parse(call.arguments), { location: 'Berlin' });
      const result = { type: 'function_call_output', call_id: call.call_id, output: '20°C' };
      isText(textOf(await tiny.ok(RESPONSES, { ...story, input: [question, call, result], ignore_eos: true })));
    },
  },
  {
    askedBy: [vllm(CALLS, 'test_function_calling_with_streaming_expected_arguments')],
    says: 'A streamed call has its name at the start, and its pieces make the arguments of the end.',
    run: async ({ scripted }) => {
      const events = await eventsOf(await scripted(CALL), { input: 'x', tools: [tool] });
      const start = events.find(({ type }) => type === 'response.output_item.added').item;
      const end = events.find(({ type }) => type === 'response.output_item.done').item;
      const pieces = events.filter(({ type }) => type === 'response.function_call_arguments.delta');
      assert.equal(start.name, 'get_weather');
      assert.equal(start.arguments + pieces.map(({ delta }) => delta).join(''), end.arguments);
      assert.deepEqual(JSON.parse(end.arguments), { location: 'Berlin' });
    },
  },
  {
    askedBy: [vllm(CALLS, 'test_max_tokens_with_tool_choice_required')],
    says: 'A required call that is cut off before its name is no call, and the answer is incomplete.',
    run: async ({ tiny }) => {
      const asked = { input: 'x', tools: [tool], tool_choice: 'required', max_output_tokens: 1, temperature: 0 };
      const body = await tiny.ok(RESPONSES, asked);
      assert.ok(body.output.every(({ type }: Json) => type !== 'function_call'));
      matches(body, { incomplete_details: { reason: 'max_output_tokens' } });
    },
  },
];
