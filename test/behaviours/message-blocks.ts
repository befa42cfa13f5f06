import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, matches, type Json } from './check.ts';
import { ask, MESSAGES } from './messages.ts';
import type { Scripted } from './servers.ts';

const BLOCKS = 'anthropic/test_content_block_validation';
const CONVERSION = 'anthropic/test_anthropic_messages_conversion';
const question = { role: 'user', content: 'What is the weather?' };
const use = { type: 'tool_use', id: 'tool_1', name: 'get_weather', input: { location: 'Paris' } };
const text = (value: string, more: object = {}) => ({ type: 'text', text: value, ...more });
const by = (role: string, ...content: object[]) => ({ role, content });
const result = (more: object) => by('user', { type: 'tool_result', tool_use_id: 'tool_1', ...more });
const billing = 'x-anthropic-billing-header: cc_version=2.1.37.abc; cc_entrypoint=cli;';

/** The conversation that these messages become. */
async function converted(server: Scripted, messages: object[], more: object = {}): Promise<Json[]> {
  await server.ok(MESSAGES, ask({ messages, ...more }));
  return server.conversation.messages;
}

/** Blocks of Anthropic's messages, and what becomes of them. */
export const messageBlocks: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_tool_result'),
      vllm(CONVERSION, 'TestToolResultContent.test_tool_result_string_content'),
      vllm(CONVERSION, 'TestToolResultContent.test_tool_result_no_follow_up_when_no_images'),
    ],
    says: 'A result goes to the model as a message of its own, by the call’s id, and nothing else is added.',
    run: async ({ scripted }) => {
      const server = await scripted('It is sunny.');
      const history = [question, by('assistant', use), result({ content: 'Sunny, 25°C' })];
      const sent = await converted(server, history);
      matches(sent, [
        question,
        { role: 'assistant', tool_calls: [{ id: 'tool_1', function: { name: 'get_weather' } }] },
        { role: 'tool', tool_call_id: 'tool_1', content: 'Sunny, 25°C' },
      ]);
      assert.deepEqual(JSON.parse(sent[1].tool_calls[0].function.arguments), { location: 'Paris' });
    },
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_tool_result_with_text')],
    says: 'Text and a result in one message become a message each.',
    run: async ({ scripted }) => {
      const mixed = by('user', text('Here are the results:'), {
        type: 'tool_result',
        tool_use_id: 'tool_1',
        content: 'Sunny',
      });
      const sent = await converted(await scripted('x'), [question, by('assistant', use), mixed]);
      const [one, other] = [
        { role: 'user', content: 'Here are the results:' },
        { role: 'tool', content: 'Sunny' },
      ];
      matches(
        sent.slice(2).toSorted((a, b) => b.role.localeCompare(a.role)),
        [one, other],
      );
    },
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_tool_result_error')],
    says: 'A result may be an error.',
    run: async ({ scripted }) => {
      const failed = result({ is_error: true, content: 'City not found' });
      const sent = await converted(await scripted('x'), [question, by('assistant', use), failed]);
      assert.match(sent[2].content, /City not found/);
    },
  },
  {
    askedBy: [vllm(CONVERSION, 'TestToolResultContent.test_tool_result_text_blocks')],
    says: 'The text blocks of a result are lines of their own.',
    run: async ({ scripted }) => {
      const lines = result({ content: [text('line 1'), text('line 2')] });
      const sent = await converted(await scripted('x'), [question, by('assistant', use), lines]);
      assert.match(sent[2].content, /^line 1\n+line 2$/);
    },
  },
  {
    askedBy: [
      vllm(CONVERSION, 'TestToolResultContent.test_tool_result_none_content'),
      vllm(BLOCKS, 'test_tool_result_valid_passes'),
    ],
    says: 'A result without content is an empty one.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      for (const more of [{}, { content: null }]) {
        const sent = await converted(server, [question, by('assistant', use), result(more)]);
        matches(sent[2], { role: 'tool', content: '' });
      }
    },
  },
  {
    askedBy: [
      vllm(CONVERSION, 'TestThinkingBlockConversion.test_thinking_plus_text_in_assistant_message'),
      vllm(CONVERSION, 'TestThinkingBlockConversion.test_multi_turn_with_thinking_blocks'),
      vllm(BLOCKS, 'test_thinking_block_valid_passes'),
      vllm(BLOCKS, 'test_thinking_block_no_signature_passes'),
    ],
    says: 'Thoughts that come back, with or without a signature, are reasoning and no content.',
    run: async ({ scripted }) => {
      const turn = (thought: string, said: string, more: object = {}) =>
        by('assistant', { type: 'thinking', thinking: thought, ...more }, text(said));
      const history = [question, turn('One.', 'A.', { signature: 's' }), question, turn('Two.', 'B.'), question];
      const sent = await converted(await scripted('x'), history);
      matches(sent[1], { reasoning_content: 'One.', content: 'A.' });
      matches(sent[3], { reasoning_content: 'Two.', content: 'B.' });
    },
  },
  {
    askedBy: [
      vllm(CONVERSION, 'TestThinkingBlockConversion.test_thinking_only_in_assistant_message'),
      vllm(CONVERSION, 'TestThinkingBlockConversion.test_thinking_plus_tool_use_in_assistant_message'),
      vllm(CONVERSION, 'TestThinkingBlockConversion.test_multiple_thinking_blocks_concatenated'),
      vllm(BLOCKS, 'test_thinking_block_empty_string_passes'),
    ],
    says: 'Several thoughts are joined; they may stand alone, be empty, or come before a call.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const thoughts = ['First. ', 'Second.', ''].map((thinking) => ({ type: 'thinking', thinking, signature: 's' }));
      const alone = await converted(server, [question, by('assistant', ...thoughts), question]);
      matches(alone[1], { reasoning_content: 'First. Second.' });
      assert.ok(!alone[1].content);
      const called = await converted(server, [question, by('assistant', ...thoughts, use), result({ content: '4' })]);
      matches(called[1], { reasoning_content: 'First. Second.', tool_calls: [{ id: 'tool_1' }] });
      assert.ok(!called[1].content);
    },
  },
  {
    askedBy: [
      vllm(CONVERSION, 'TestThinkingBlockConversion.test_redacted_thinking_block_is_accepted'),
      vllm(BLOCKS, 'test_redacted_thinking_valid_passes'),
    ],
    says: 'Redacted thoughts are taken and left out.',
    run: async ({ scripted }) => {
      const redacted = { type: 'redacted_thinking', data: 'OPAQUE' };
      const earlier = by('assistant', { type: 'thinking', thinking: 'Hm.', signature: 's' }, redacted, text('Hi!'));
      const sent = await converted(await scripted('x'), [question, earlier, question]);
      matches(sent[1], { reasoning_content: 'Hm.', content: 'Hi!' });
    },
  },
  ...(
    [
      ['missing_id', 'without an id', { id: undefined }],
      ['empty_id', 'with an empty id', { id: '' }],
      ['missing_name', 'without a name', { name: undefined }],
      ['empty_name', 'with an empty name', { name: '' }],
    ] as const
  ).map(([test, how, more]): Behaviour => ({
    askedBy: [vllm(BLOCKS, `test_tool_use_${test}_raises`)],
    says: `A call ${how} is a 400.`,
    run: async ({ scripted }) => {
      const messages = [question, by('assistant', { ...use, ...more }), result({ content: 'x' })];
      await (await scripted('x')).refused(MESSAGES, ask({ messages }));
    },
  })),
  {
    askedBy: [vllm(BLOCKS, 'test_tool_use_missing_input_raises')],
    says: 'A call without an input is a 400.',
    run: async ({ scripted }) => {
      const { input: _, ...rest } = use;
      const messages = [question, by('assistant', rest), result({ content: 'x' })];
      await (await scripted('x')).refused(MESSAGES, ask({ messages }));
    },
  },
  {
    askedBy: [vllm(BLOCKS, 'test_tool_use_empty_input_dict_passes'), vllm(BLOCKS, 'test_tool_use_valid_passes')],
    says: 'A call’s input may be an empty object.',
    run: async ({ scripted }) => {
      const history = [question, by('assistant', { ...use, input: {} }), result({ content: 'x' })];
      const sent = await converted(await scripted('x'), history);
      matches(sent[1].tool_calls, [{ function: { arguments: '{}' } }]);
    },
  },
  ...(
    [
      ['missing', 'without the id', undefined],
      ['empty', 'with an empty id', ''],
    ] as const
  ).map(([test, how, id]): Behaviour => ({
    askedBy: [vllm(BLOCKS, `test_tool_result_${test}_tool_use_id_raises`)],
    says: `A result ${how} of its call is a 400.`,
    run: async ({ scripted }) => {
      const orphan = result({ content: 'x', tool_use_id: id });
      const messages = [question, by('assistant', use), orphan];
      await (await scripted('x')).refused(MESSAGES, ask({ messages }));
    },
  })),
  {
    askedBy: [vllm(BLOCKS, 'test_text_block_none_text_raises')],
    says: 'A text block without text is a 400.',
    run: async ({ scripted }) => {
      await (await scripted('x')).refused(MESSAGES, ask({ messages: [by('user', { type: 'text' })] }));
    },
  },
  {
    askedBy: [vllm(BLOCKS, 'test_text_block_empty_string_passes')],
    says: 'A text block may be empty.',
    run: async ({ scripted }) => {
      const sent = await converted(await scripted('x'), [by('user', text(''), text('hello'))]);
      matches(sent[0], { content: 'hello' });
    },
  },
  {
    askedBy: [vllm(BLOCKS, 'test_thinking_block_missing_thinking_raises')],
    says: 'A block of thought without thought is a 400.',
    run: async ({ scripted }) => {
      const messages = [question, by('assistant', { type: 'thinking', signature: 'abc' }), question];
      await (await scripted('x')).refused(MESSAGES, ask({ messages }));
    },
  },
  {
    askedBy: [
      vllm(BLOCKS, 'test_redacted_thinking_missing_data_raises'),
      vllm(BLOCKS, 'test_redacted_thinking_empty_data_raises'),
    ],
    says: 'Redacted thoughts without data are a 400.',
    differs: 'Their data is not read, so nothing is missing.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      for (const more of [{}, { data: '' }]) {
        const messages = [question, by('assistant', { type: 'redacted_thinking', ...more }, text('Hi')), question];
        await server.refused(MESSAGES, ask({ messages }));
      }
    },
  },
  {
    askedBy: [
      vllm(CONVERSION, 'TestAttributionHeaderStripping.test_billing_header_stripped_from_system'),
      vllm(CONVERSION, 'TestInlineSystemMessageInMessagesArray.test_inline_system_billing_header_stripped'),
      vllm(CONVERSION, 'TestInlineSystemMessageInMessagesArray.test_inline_system_billing_header_mixed_with_content'),
    ],
    says: 'Claude Code’s billing header, another each time, is left out of the prompt, so that earlier work on it can be used again.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      const helpful = text('You are a helpful assistant.');
      const top = await converted(server, [question], { system: [helpful, text(billing)] });
      matches(top, [{ role: 'system', content: 'You are a helpful assistant.' }, question]);
      const inline = await converted(server, [question, { role: 'system', content: billing }]);
      matches(inline, [question]);
      const mixed = await converted(server, [by('system', text(billing), text('Real.')), question]);
      matches(mixed, [{ role: 'system', content: 'Real.' }, question]);
    },
  },
  {
    askedBy: [
      vllm(CONVERSION, 'TestAttributionHeaderStripping.test_system_without_billing_header_unchanged'),
      vllm(CONVERSION, 'TestInlineSystemMessageInMessagesArray.test_inline_system_list_content'),
    ],
    says: 'The blocks of a system message are joined without anything between them.',
    differs:
      'An empty line is put between them: Claude Code’s blocks are texts of their own and end without a line break.',
    run: async ({ scripted }) => {
      const system = [text('You are helpful.'), text(' Be concise.')];
      const sent = await converted(await scripted('x'), [question], { system });
      matches(sent[0], { role: 'system', content: 'You are helpful. Be concise.' });
    },
  },
  {
    askedBy: [
      vllm(CONVERSION, 'TestInlineSystemMessageInMessagesArray.test_inline_system_string_only'),
      vllm(CONVERSION, 'TestInlineSystemMessageInMessagesArray.test_multiple_inline_system_messages'),
      vllm(CONVERSION, 'TestInlineSystemMessageInMessagesArray.test_inline_system_with_top_level_string'),
      vllm(CONVERSION, 'TestInlineSystemMessageInMessagesArray.test_inline_system_merged_with_top_level_system'),
    ],
    says: 'System messages among the messages keep their places and their role, after `system`.',
    differs:
      'Those at the beginning are one message, and a later one is given to the user: published templates fail at others, or leave them out.',
    run: async ({ scripted }) => {
      const history = [
        { role: 'system', content: 'First.' },
        question,
        { role: 'system', content: 'Second.' },
        by('user', text('help?', { cache_control: { type: 'ephemeral' } })),
      ];
      const sent = await converted(await scripted('x'), history, { system: 'Top.', tools: [] });
      matches(sent, [{ role: 'system', content: 'Top.' }, ...history.slice(0, 3), { role: 'user', content: 'help?' }]);
    },
  },
  {
    askedBy: [
      vllm('anthropic/test_system_hoist', 'TestHoistSystemMessages.test_string_system_message_is_hoisted'),
      vllm('anthropic/test_system_hoist', 'TestHoistSystemMessages.test_block_list_system_message_is_hoisted'),
      vllm('anthropic/test_system_hoist', 'TestHoistSystemMessages.test_existing_top_level_system_is_kept_first'),
      vllm('anthropic/test_system_hoist', 'TestHoistSystemMessages.test_hoisted_system_flows_through_conversion'),
    ],
    says: 'A system message at the beginning of the messages, as text or as blocks, comes after `system` and before all others.',
    run: async ({ scripted }) => {
      const server = await scripted('x');
      for (const content of ['Be terse.', [text('Be terse.')]]) {
        const sent = await converted(server, [{ role: 'system', content }, question]);
        matches(sent, [{ role: 'system', content: 'Be terse.' }, question]);
        const both = await converted(server, [{ role: 'system', content }, question], { system: 'Top.' });
        assert.match(both.map((one) => one.content).join('\n'), /^Top\.\s+Be terse\.\s+What is the weather\?$/);
      }
    },
  },
  {
    askedBy: [vllm('anthropic/test_system_hoist', 'TestHoistSystemMessages.test_invalid_role_still_rejected')],
    says: 'Other roles are a 400.',
    run: async ({ scripted }) => {
      await (await scripted('x')).refused(MESSAGES, ask({ messages: [{ role: 'tool', content: 'x' }] }));
    },
  },
];
