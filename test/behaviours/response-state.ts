import { type Behaviour, vllm } from './behaviour.ts';
import { assert, isText, matches, type Json } from './check.ts';
import type { Scripted } from './servers.ts';

const RESPONSES = '/v1/responses';
const STATE = 'responses/test_stateful';
const SIMPLE = 'responses/test_simple';
const CHECKS = 'tool_use/test_responses_request_validations';
const tools = [{ type: 'function', name: 'get_weather', parameters: { type: 'object' } }];
const named = { type: 'function', name: 'get_weather' };
const user = (text: string) => ({ type: 'message', role: 'user', content: [{ type: 'input_text', text }] });
const said = (text: string, more: object = {}) => ({
  type: 'message',
  role: 'assistant',
  content: [{ type: 'output_text', text }],
  ...more,
});
const thought = (more: object = {}) => ({ type: 'reasoning', summary: [], encrypted_content: null, ...more });

const rolesOf = (server: Scripted): string[] => server.conversation.messages.map(({ role }: Json) => role);
const refuses = async (server: Scripted, body: object) =>
  isText((await server.refused(RESPONSES, { input: 'Hello', ...body })).message);
const takes = async (server: Scripted, body: object) =>
  matches(await server.ok(RESPONSES, { input: 'Hello', ...body }), { status: 'completed' });

/** Answers that are kept, histories that are sent back, and what is checked of a request. */
export const responseState: readonly Behaviour[] = [
  {
    askedBy: [vllm(STATE, 'test_store')],
    says: 'An answer is kept and can be read by its id.',
    run: async ({ scripted }) => {
      const server = await scripted('Hi.');
      const { id } = await server.ok(RESPONSES, { input: 'Hello!' });
      matches(await server.get(`${RESPONSES}/${id}`), { status: 200, body: { id, status: 'completed' } });
    },
  },
  {
    askedBy: [vllm(STATE, 'test_store')],
    says: 'With `store: false` it is not kept, and reading it is a 404.',
    run: async ({ scripted }) => {
      const server = await scripted('Hi.');
      const { id, status } = await server.ok(RESPONSES, { input: 'Hello!', store: false });
      assert.equal(status, 'completed');
      const answer = await server.get(`${RESPONSES}/${id}`);
      assert.equal(answer.status, 404);
      isText(answer.body.error.message);
    },
  },
  {
    askedBy: [vllm(STATE, 'test_previous_response_id')],
    says: '`previous_response_id` goes on with a conversation, over several answers.',
    run: async ({ scripted }) => {
      const server = await scripted('Well.');
      const ask = async (input: string, previous_response_id?: string) =>
        (await server.ok(RESPONSES, { input, ...(previous_response_id && { previous_response_id }) })).id;
      await ask('What is it?', await ask('No, Mark.', await ask('I am John.')));
      const texts = server.conversation.messages.map(({ content }: Json) => content);
      assert.deepEqual(texts, ['I am John.', 'Well.', 'No, Mark.', 'Well.', 'What is it?']);
    },
  },
  {
    askedBy: [vllm(STATE, 'test_two_responses_with_same_prev_id')],
    says: 'Two answers to the same earlier one do not see each other.',
    run: async ({ scripted }) => {
      const server = await scripted('Well.');
      const { id } = await server.ok(RESPONSES, { input: 'I am John.' });
      const ask = (input: string) => server.ok(RESPONSES, { input, previous_response_id: id });
      await Promise.all([ask('I am Mark.'), ask('Who am I?')]);
      const both = server.rendered.slice(-2).map((task: Json) => task.messages.map(({ content }: Json) => content));
      assert.deepEqual(both.toSorted(), [
        ['I am John.', 'Well.', 'I am Mark.'],
        ['I am John.', 'Well.', 'Who am I?'],
      ]);
    },
  },
  {
    askedBy: [vllm(STATE, 'test_background'), vllm(STATE, 'test_background_cancel')],
    says: '`background: true` answers at once and goes on without the client, who asks for it later or cancels it.',
    differs: 'An answer whose client is gone takes places from those who wait. Use a stream.',
    run: async ({ scripted }) => {
      matches(await (await scripted('Hi.')).ok(RESPONSES, { input: 'Hello!', background: true }), { status: 'queued' });
    },
  },
  {
    askedBy: [vllm(STATE, 'test_background_error')],
    says: '`background: true` with `store: false` is a 400.',
    run: async ({ scripted }) => refuses(await scripted('x'), { background: true, store: false }),
  },
  {
    askedBy: [vllm(STATE, 'test_cancel_completed')],
    says: 'Cancelling an answer that did not run in the background is a 400.',
    differs: 'No answer runs in the background, so there is nothing to cancel: the path allows no POST (405).',
    run: async ({ scripted }) => {
      const server = await scripted('Hi.');
      const { id } = await server.ok(RESPONSES, { input: 'Hello' });
      await server.refused(`${RESPONSES}/${id}/cancel`, {});
    },
  },
  {
    askedBy: [vllm(SIMPLE, 'test_reasoning_item')],
    says: 'Reasoning may be sent back with its text.',
    run: async ({ scripted }) => {
      const server = await scripted('Hello.');
      const content = [{ type: 'reasoning_text', text: 'We need to respond.' }];
      const input = [{ type: 'message', role: 'user', content: 'Hello.' }, thought({ id: 'lol', content })];
      matches(await server.ok(RESPONSES, { input }), { status: 'completed' });
    },
  },
  ...(
    [
      ['test_input_history_openai_shape_e2e', 'with ids and states', { id: 'item_1', status: 'completed' }],
      ['test_input_history_openresponses_shape_e2e', 'without ids and states', {}],
    ] as const
  ).map(([test, how, more]): Behaviour => ({
    askedBy: [vllm(SIMPLE, test), vllm(SIMPLE, 'test_multiturn_history_replay_without_ids_e2e')],
    says: `Earlier answers and reasoning may be sent back ${how}.`,
    run: async ({ scripted }) => {
      const server = await scripted('Yes.');
      const input = [user('Be concise.'), said('Acknowledged.', more), thought(more), user('Reply.')];
      matches(await server.ok(RESPONSES, { input }), { status: 'completed' });
      assert.equal(rolesOf(server).at(-1), 'user');
      assert.ok(server.conversation.messages.some(({ content }: Json) => content === 'Acknowledged.'));
    },
  })),
  ...(
    [
      ['with_no_tools', {}],
      ['no_tools_tool_choice_none', { tool_choice: 'none' }],
      ['no_tools_tool_choice_auto', { tool_choice: 'auto' }],
      ['empty_tools_tool_choice_none', { tools: [], tool_choice: 'none' }],
      ['empty_tools_tool_choice_auto', { tools: [], tool_choice: 'auto' }],
    ] as const
  ).map(([test, more]): Behaviour => ({
    askedBy: [vllm(CHECKS, `test_responses_request_${test}`)],
    says: `A request with \`${JSON.stringify(more)}\` is taken.`,
    run: async ({ scripted }) => takes(await scripted('Hi.'), more),
  })),
  ...(
    [
      ['required_without_tools', { tool_choice: 'required' }],
      ['required_without_tools', { tools: [], tool_choice: 'required' }],
      ['named_tool_choice_without_tools', { tool_choice: named }],
      ['empty_tools_named_tool_choice', { tools: [], tool_choice: named }],
    ] as const
  ).map(([test, more]): Behaviour => ({
    askedBy: [vllm(CHECKS, `test_responses_request_${test}`)],
    says: `A request with \`${JSON.stringify(more)}\` is a 400.`,
    run: async ({ scripted }) => refuses(await scripted('x'), more),
  })),
  ...(
    [
      ['with_tools_default_tool_choice', undefined, 'auto'],
      ['with_tools_tool_choice_none', 'none', 'none'],
      ['with_tools_tool_choice_auto', 'auto', 'auto'],
      ['with_tools_tool_choice_required', 'required', 'required'],
      ['named_tool_choice_matching', named, named],
    ] as const
  ).map(([test, sent, back]): Behaviour => ({
    askedBy: [vllm(CHECKS, `test_responses_request_${test}`)],
    says: `With tools, the choice \`${JSON.stringify(sent ?? null)}\` comes back as \`${JSON.stringify(back)}\`.`,
    run: async ({ scripted }) => {
      const server = await scripted('Hi.');
      const body = await server.ok(RESPONSES, { input: 'x', tools, ...(sent && { tool_choice: sent }) });
      matches(body, { tool_choice: back });
    },
  })),
  ...(
    [
      ['not_matching', { type: 'function', name: 'nonexistent' }],
      ['missing_name', { type: 'function' }],
      ['missing_name', { type: 'function', name: '' }],
    ] as const
  ).map(([test, tool_choice]): Behaviour => ({
    askedBy: [vllm(CHECKS, `test_responses_request_named_tool_choice_${test}`)],
    says: `With tools, the choice \`${JSON.stringify(tool_choice)}\` is a 400.`,
    run: async ({ scripted }) => refuses(await scripted('x'), { tools, tool_choice }),
  })),
  ...(
    [
      [true, true],
      [false, false],
      [null, true],
    ] as const
  ).map(([sent, back]): Behaviour => ({
    askedBy: [
      vllm(CHECKS, 'test_responses_response_parallel_tool_calls_null_resolves_to_default'),
      ...(sent === null ? [vllm(CHECKS, 'test_responses_request_parallel_tool_calls_null_accepted')] : []),
    ],
    says: `\`parallel_tool_calls: ${sent}\` comes back as ${back}.`,
    run: async ({ scripted }) => {
      const body = await (await scripted('Hi.')).ok(RESPONSES, { input: 'x', parallel_tool_calls: sent });
      matches(body, { parallel_tool_calls: back });
    },
  })),
];
