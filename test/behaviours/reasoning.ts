import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, isInteger, isText, matches } from './check.ts';
import { chat, type Client } from './servers.ts';

const CHAT = '/v1/chat/completions';
const THOUGHT = '<think>\n17 × 19 is 323.\n</think>\n\nIt is 323.';
const CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Dallas"}}\n</tool_call>';
const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }];
const asked = { max_tokens: 200, temperature: 0 };

/** The parts of a streamed answer. */
async function streamed(client: Client, body: object) {
  const all = { reasoning: '', content: '', names: [] as string[], text: '' };
  for (const { choices } of await client.chunks(CHAT, chat({ ...asked, ...body }))) {
    const { delta } = choices[0];
    all.reasoning += delta.reasoning_content ?? '';
    all.content += delta.content ?? '';
    for (const { function: piece } of delta.tool_calls ?? []) {
      if (piece.name !== undefined) all.names.push(piece.name);
      all.text += piece.arguments ?? '';
    }
  }
  return all;
}

/** Thoughts apart from the answer. */
export const reasoning: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_tool_call', 'test_thoughts'),
      vllm('chat_completion/test_include_reasoning', 'test_default_includes_reasoning'),
      vllm('chat_completion/test_include_reasoning', 'test_include_reasoning_true_non_streaming'),
      vllm('chat_completion/test_include_reasoning', 'test_include_reasoning_true_streaming'),
    ],
    says: 'Reasoning is in `reasoning_content` and not in the content, whole and streamed, also with `include_reasoning: true`.',
    run: async ({ scripted }) => {
      const server = await scripted(THOUGHT);
      for (const more of [{}, { include_reasoning: true }]) {
        const { message } = await server.chat({ ...asked, ...more });
        assert.equal(message.content, 'It is 323.');
        assert.equal(message.reasoning_content.trim(), '17 × 19 is 323.');
        assert.equal(message.tool_calls, undefined);
        const parts = await streamed(server, more);
        assert.equal(parts.content, 'It is 323.');
        assert.equal(parts.reasoning.trim(), '17 × 19 is 323.');
      }
    },
  },
  {
    askedBy: [llama('test_tool_call', 'test_thoughts')],
    says: 'A model that does not think has no `reasoning_content`.',
    run: async ({ scripted }) => {
      const { message } = await (await scripted('The sum is 109.')).chat(asked);
      matches(message, { content: 'The sum is 109.' });
      assert.equal(message.reasoning_content, undefined);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_completion_with_function_calling', 'test_function_tool_use')],
    says: 'Reasoning has the name `reasoning` too.',
    differs: 'It has the one name that DeepSeek’s API, llama.cpp and most clients have, `reasoning_content`.',
    run: async ({ scripted }) => isText((await (await scripted(THOUGHT)).chat(asked)).message.reasoning),
  },
  {
    askedBy: [vllm('chat_completion/test_include_reasoning', 'test_include_reasoning_false_non_streaming')],
    says: '`include_reasoning: false` leaves it out of an answer.',
    run: async ({ scripted }) => {
      const { message } = await (await scripted(THOUGHT)).chat({ ...asked, include_reasoning: false });
      assert.equal(message.content, 'It is 323.');
      assert.equal(message.reasoning_content, undefined);
    },
  },
  {
    askedBy: [vllm('chat_completion/test_include_reasoning', 'test_include_reasoning_false_streaming')],
    says: '`include_reasoning: false` leaves it out of a stream.',
    run: async ({ scripted }) => {
      const parts = await streamed(await scripted(THOUGHT), { include_reasoning: false });
      matches(parts, { content: 'It is 323.', reasoning: '' });
    },
  },
  {
    askedBy: [vllm('chat_completion/test_include_reasoning', 'test_reasoning_tokens_in_usage')],
    says: 'Usage counts the tokens of reasoning, also where it is left out.',
    run: async ({ scripted }) => {
      const server = await scripted(THOUGHT);
      for (const include_reasoning of [true, false]) {
        const { usage } = await server.ok(CHAT, chat({ ...asked, include_reasoning }));
        isInteger(usage.completion_tokens_details.reasoning_tokens, 1);
      }
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_chat_with_tool_reasoning', 'test_chat_full_of_tool_and_reasoning'),
      vllm('chat_completion/test_chat_with_tool_reasoning', 'test_chat_streaming_of_tool_and_reasoning'),
    ],
    says: 'An answer may reason and then call a tool, whole and streamed.',
    run: async ({ scripted }) => {
      const server = await scripted(`<think>\nLook it up.\n</think>\n\n${CALL}`);
      const { message, finish_reason: reason } = await server.chat({ ...asked, tools });
      assert.equal(reason, 'tool_calls');
      isText(message.reasoning_content);
      matches(message.tool_calls, [{ function: { name: 'weather' } }]);
      const parts = await streamed(server, { tools });
      isText(parts.reasoning);
      matches(parts, { names: ['weather'] });
      assert.deepEqual(JSON.parse(parts.text), { city: 'Dallas' });
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_thinking_token_budget', 'test_streaming_with_thinking_disabled_stays_in_content'),
    ],
    says: 'With `chat_template_kwargs` `enable_thinking: false` all of the answer is content, whole and streamed.',
    run: async ({ scripted }) => {
      const server = await scripted('12');
      const more = { chat_template_kwargs: { enable_thinking: false } };
      const { message } = await server.chat({ ...asked, ...more });
      assert.equal(message.content, '12');
      assert.equal(message.reasoning_content, undefined);
      matches(await streamed(server, more), { content: '12', reasoning: '' });
      matches(server.conversation.variables, { enable_thinking: false });
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_reasoning_effort', 'test_none_injects_enable_thinking_in_request'),
      vllm('chat_completion/test_reasoning_effort', 'test_none_propagates_to_build_chat_params'),
      vllm('chat_completion/test_reasoning_effort', 'test_none_preserves_reasoning_effort_in_kwargs'),
    ],
    says: '`reasoning_effort: "none"` sets `enable_thinking` to false for the template, which is told the effort too.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      await server.chat({ reasoning_effort: 'none' });
      matches(server.conversation.variables, { enable_thinking: false, reasoning_effort: 'none' });
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_reasoning_effort', 'test_non_none_does_not_inject_enable_thinking'),
      vllm('chat_completion/test_reasoning_effort', 'test_no_reasoning_effort_does_not_inject'),
    ],
    says: 'Other efforts, and none given, leave `enable_thinking` alone.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      for (const more of [{ reasoning_effort: 'low' }, { reasoning_effort: 'high' }, {}]) {
        await server.chat(more);
        assert.ok(!('enable_thinking' in server.conversation.variables));
      }
    },
  },
  {
    askedBy: [
      vllm('chat_completion/test_reasoning_effort', 'test_explicit_enable_thinking_not_overridden'),
      vllm('chat_completion/test_reasoning_effort', 'test_existing_chat_template_kwargs_preserved'),
    ],
    says: '`chat_template_kwargs` win over `reasoning_effort`, and all of them reach the template.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const own = { enable_thinking: true, custom_key: 'value' };
      await server.chat({ reasoning_effort: 'none', chat_template_kwargs: own });
      matches(server.conversation.variables, own);
    },
  },
  {
    askedBy: [
      vllm('tool_use/test_chat_completion_request_validations', 'test_reasoning_content_normalized_to_reasoning'),
      vllm('tool_use/test_chat_completion_request_validations', 'test_no_reasoning_fields_unchanged'),
    ],
    says: 'Reasoning of an earlier answer reaches the template as one variable, by either of its names.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      for (const name of ['reasoning_content', 'reasoning']) {
        const earlier = { role: 'assistant', content: '4', [name]: '2+2 equals 4' };
        await server.chat({ messages: [{ role: 'user', content: 'What is 2+2?' }, earlier] });
        matches(server.conversation.messages[1], { content: '4', reasoning_content: '2+2 equals 4' });
        assert.ok(!('reasoning_content' in server.conversation.messages[0]));
      }
    },
  },
  {
    askedBy: [
      vllm(
        'tool_use/test_chat_completion_request_validations',
        'test_reasoning_takes_precedence_over_reasoning_content',
      ),
    ],
    says: 'Where both names are sent, `reasoning` is taken.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const earlier = { role: 'assistant', content: '4', reasoning: 'this', reasoning_content: 'that' };
      await server.chat({ messages: [{ role: 'user', content: 'x' }, earlier] });
      matches(server.conversation.messages[1], { reasoning_content: 'this' });
    },
  },
  {
    askedBy: [vllm('chat_completion/test_thinking_token_budget', 'test_thinking_token_budget_mixed_requests')],
    says: 'Requests with and without a `thinking_token_budget` are answered.',
    run: async ({ scripted }) => {
      const server = await scripted(THOUGHT);
      for (const more of [{ thinking_token_budget: 5 }, {}]) {
        isText((await server.chat({ ...asked, ...more })).message.content);
      }
    },
  },
  {
    askedBy: [vllm('chat_completion/test_thinking_token_budget', 'test_thinking_token_budget_limits_reasoning')],
    says: '`thinking_token_budget` ends reasoning after so many tokens.',
    differs:
      'A model that is made to stop thinking in the middle of a sentence was not trained for it. `reasoning_effort` and `enable_thinking` reach the template.',
    run: async ({ scripted }) => {
      const server = await scripted(THOUGHT);
      const { usage } = await server.ok(CHAT, chat({ ...asked, thinking_token_budget: 5 }));
      assert.ok(usage.completion_tokens_details.reasoning_tokens <= 5);
    },
  },
];
