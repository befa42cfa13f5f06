import { type Behaviour, llama, vllm } from './behaviour.ts';
import { assert, isInteger, isText, matches, type Json } from './check.ts';
import { ask, CALL, MESSAGES, roomy, typesOf } from './messages.ts';
import type { StreamEvent } from './servers.ts';

interface Block {
  type: string;
  start: Json;
  text: string;
}

/** A stream's blocks; checks that each is opened, then filled, then closed, one after another, by number. */
function blocksOf(events: readonly StreamEvent[]): Block[] {
  const blocks: Block[] = [];
  let open = false;
  for (const { name, data } of events) {
    assert.equal(name, data.type);
    if (data.type === 'content_block_start') {
      assert.ok(!open);
      assert.equal(data.index, blocks.length);
      blocks.push({ type: data.content_block.type, start: data.content_block, text: '' });
      open = true;
    } else if (data.type === 'content_block_delta') {
      assert.ok(open);
      assert.equal(data.index, blocks.length - 1);
      blocks.at(-1)!.text += data.delta.text ?? data.delta.partial_json ?? data.delta.thinking ?? '';
    } else if (data.type === 'content_block_stop') {
      assert.ok(open);
      assert.equal(data.index, blocks.length - 1);
      open = false;
    }
  }
  assert.ok(!open);
  return blocks;
}

const stopOf = (events: readonly StreamEvent[]) =>
  events.find(({ data }) => data.type === 'message_delta')?.data.delta.stop_reason;
/** Streams of Anthropic's API. */
export const messageStreams: readonly Behaviour[] = [
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_messages_streaming'),
      vllm('anthropic/test_messages', 'test_anthropic_streaming'),
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestMessageStartIncludesTypeAndRole.test_message_start_contains_message_type_and_role',
      ),
    ],
    says: 'A stream begins with an empty message and its usage, fills one text block, and ends with the reason and the usage.',
    run: async ({ tiny }) => {
      const events = await tiny.stream(MESSAGES, ask({ max_tokens: 30 }));
      const { message } = events[0]!.data;
      matches(message, { type: 'message', role: 'assistant', content: [] });
      isInteger(message.usage.input_tokens, 1);
      const [block, ...others] = blocksOf(events);
      assert.deepEqual([block!.type, others], ['text', []]);
      isText(block!.text);
      assert.ok(['end_turn', 'max_tokens'].includes(stopOf(events)));
      const end = events.find(({ data }) => data.type === 'message_delta')!.data;
      isInteger(end.usage.output_tokens, 1);
      matches(events.at(-1)!.data, { type: 'message_stop' });
    },
  },
  {
    askedBy: [
      llama('test_compat_anthropic', 'test_anthropic_tool_streaming'),
      llama('test_compat_anthropic', 'test_anthropic_streaming_content_block_indices'),
      vllm('anthropic/test_messages', 'test_anthropic_tool_call_streaming'),
      vllm('anthropic/test_message_stream_converter', 'test_tool_call_streamed_across_multiple_deltas'),
    ],
    says: 'A streamed call is a block with its name at the start and its input as pieces of JSON; blocks are numbered in order.',
    run: async ({ scripted }) => {
      const events = await (await scripted(CALL)).stream(MESSAGES, ask(roomy));
      const blocks = blocksOf(events);
      assert.deepEqual(typesOf(blocks), ['tool_use']);
      assert.equal(blocks[0]!.start.name, 'get_weather');
      assert.deepEqual(JSON.parse(blocks[0]!.text), { location: 'Paris' });
      assert.equal(stopOf(events), 'tool_use');
    },
  },
  {
    askedBy: [
      vllm('anthropic/test_message_stream_converter', 'test_tool_call_with_real_leading_text_emits_both_blocks'),
      vllm('anthropic/test_message_stream_converter', 'test_tool_call_survives_whitespace_leading_content'),
    ],
    says: 'Thoughts, text and a call of one answer are blocks in that order; white space before a call takes nothing away.',
    run: async ({ scripted }) => {
      for (const [text, types] of [
        ['Sure, let me check. ', ['thinking', 'text', 'tool_use']],
        ['\n\n', ['thinking', 'tool_use']],
      ] as const) {
        const server = await scripted(`<think>\nLet me start.\n</think>\n\n${text}${CALL}`);
        const events = await server.stream(
          MESSAGES,
          ask({ ...roomy, thinking: { type: 'enabled', budget_tokens: 50 } }),
        );
        const blocks = blocksOf(events);
        assert.deepEqual(typesOf(blocks), types);
        assert.deepEqual(JSON.parse(blocks.at(-1)!.text), { location: 'Paris' });
      }
    },
  },
  {
    askedBy: [vllm('anthropic/test_message_stream_converter', 'test_reasoning_then_tool_transitions_cleanly')],
    says: 'A call right after thoughts gives a block of each.',
    run: async ({ scripted }) => {
      const server = await scripted(`<think>\nthinking...\n</think>\n${CALL}`);
      const events = await server.stream(MESSAGES, ask({ ...roomy, thinking: { type: 'enabled', budget_tokens: 50 } }));
      const blocks = blocksOf(events);
      assert.deepEqual(typesOf(blocks), ['thinking', 'tool_use']);
      assert.equal(blocks[0]!.text.trim(), 'thinking...');
    },
  },
  {
    askedBy: [
      vllm('anthropic/test_message_stream_converter', 'test_content_only_stream_unchanged'),
      vllm('anthropic/test_message_stream_converter', 'test_empty_content_only_stream_emits_no_text_delta'),
    ],
    says: 'A stream of text is one block whose pieces make the text, and the reason is `end_turn`.',
    run: async ({ scripted }) => {
      const events = await (await scripted('Hello world')).stream(MESSAGES, ask());
      matches(blocksOf(events), [{ type: 'text', text: 'Hello world' }]);
      assert.equal(stopOf(events), 'end_turn');
    },
  },
  {
    askedBy: [
      vllm(
        'anthropic/test_anthropic_messages_conversion',
        'TestMessageStreamConverterToolUseContentBuffering.test_tool_use_args_not_dropped_when_content_in_same_chunk',
      ),
    ],
    says: 'Text after a call is a block of its own, and takes nothing from the call’s input.',
    run: async ({ scripted }) => {
      const blocks = blocksOf(await (await scripted(`${CALL}\nOkay`)).stream(MESSAGES, ask(roomy)));
      assert.deepEqual(typesOf(blocks), ['tool_use', 'text']);
      assert.deepEqual(JSON.parse(blocks[0]!.text), { location: 'Paris' });
      assert.equal(blocks[1]!.text.trim(), 'Okay');
    },
  },
  {
    askedBy: [vllm('anthropic/test_stream_error', 'test_converter_forwards_upstream_error_message')],
    says: 'A stream that fails has one event `error` with a message.',
    run: async ({ scripted }) => {
      const server = await scripted({
        says: () => ({ ids: [97, 98], failAt: { index: 1, error: new Error('lost') } }),
      });
      const failed = (await server.stream(MESSAGES, ask())).filter(({ name }) => name === 'error');
      matches(failed, [{ data: { type: 'error' } }]);
      isText(failed[0]!.data.error.message);
    },
  },
  {
    askedBy: [llama('test_compat_anthropic', 'test_anthropic_thinking_with_reasoning_model')],
    says: 'The stream has pieces of thought, then a piece with the signature, then the text as the second block.',
    run: async ({ scripted }) => {
      const server = await scripted('<think>\nTwo and two.\n</think>\n\nFour.');
      const events = await server.stream(MESSAGES, ask({ thinking: { type: 'enabled', budget_tokens: 500 } }));
      assert.deepEqual(typesOf(blocksOf(events)), ['thinking', 'text']);
      const deltas = events.flatMap(({ data }) => data.delta?.type ?? []);
      for (const type of ['thinking_delta', 'signature_delta', 'text_delta']) assert.ok(deltas.includes(type), type);
    },
  },
];
