import { describe, expect, it } from 'vitest';
import { messagesRequestSchema } from './schema.ts';
import { toChat } from './to-chat.ts';

const chatOf = (body: object) =>
  toChat(messagesRequestSchema.parse({ max_tokens: 5, messages: [{ role: 'user', content: 'x' }], ...body }));

const textBlock = (text: string) => ({ type: 'text', text });

describe('toChat', () => {
  it('passes on what both have, by the names of chat', () => {
    const { chat } = chatOf({
      model: 'm',
      temperature: 0.3,
      top_p: 0.8,
      top_k: 5,
      stop_sequences: ['a'],
      stream: true,
      system: [textBlock('One.'), textBlock('Two.')],
      output_config: { effort: 'high', format: { type: 'json_schema', schema: { type: 'object' } } },
    });
    expect(chat).toMatchObject({
      model: 'm',
      temperature: 0.3,
      top_p: 0.8,
      top_k: 5,
      stop: ['a'],
      stream: true,
      max_completion_tokens: 5,
      messages: [
        { role: 'system', content: 'One.\n\nTwo.' },
        { role: 'user', content: 'x' },
      ],
      reasoning_effort: 'high',
      response_format: { type: 'json_schema', json_schema: { schema: { type: 'object' } } },
    });
  });

  it('keeps the order of results and text, and names the functions', () => {
    const { chat } = chatOf({
      messages: [
        {
          role: 'assistant',
          content: [
            { type: 'redacted_thinking', data: 'zzz' },
            { type: 'thinking', thinking: 'hm', signature: 'abc' },
            textBlock('I '),
            textBlock('ask.'),
            { type: 'tool_use', id: 't1', name: 'f', input: { a: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            textBlock('before'),
            { type: 'tool_result', tool_use_id: 't1', content: [textBlock('a'), textBlock('b')] },
            { type: 'tool_result', tool_use_id: 't2' },
            textBlock('after'),
            textBlock('all'),
          ],
        },
      ],
    });
    expect(chat.messages).toEqual([
      {
        role: 'assistant',
        content: 'I ask.',
        reasoning_content: 'hm',
        tool_calls: [{ id: 't1', type: 'function', function: { name: 'f', arguments: { a: 1 } } }],
      },
      { role: 'user', content: 'before' },
      { role: 'tool', tool_call_id: 't1', name: 'f', content: 'a\n\nb' },
      { role: 'tool', tool_call_id: 't2', name: undefined, content: '' },
      { role: 'user', content: 'after\n\nall' },
    ]);
  });

  it('leaves out what Claude Code writes for its bills, another text each time', () => {
    const bill = 'x-anthropic-billing-header: cc_version=2.1; cch=1234;';
    const { chat } = chatOf({
      system: [textBlock(bill), textBlock('Be nice.')],
      messages: [
        { role: 'user', content: 'x' },
        { role: 'system', content: bill },
        { role: 'system', content: [textBlock(bill), textBlock('Real.')] },
      ],
    });
    expect(chat.messages).toEqual([
      { role: 'system', content: 'Be nice.' },
      { role: 'user', content: 'x' },
      { role: 'system', content: 'Real.' },
    ]);
    expect(() => chatOf({ messages: [{ role: 'system', content: bill }] })).toThrow("'messages'");
  });

  it('goes on with a last message of the assistant, unless it calls', () => {
    const last = (content: unknown) =>
      chatOf({ messages: [{ role: 'assistant', content }] }).chat.continue_final_message;
    expect(last('The')).toBe(true);
    expect(last([{ type: 'tool_use', id: 't', name: 'f', input: {} }])).toBe(false);
    expect(chatOf({}).chat.continue_final_message).toBe(false);
  });

  it.each([
    [undefined, 'disabled', false],
    [{ type: 'disabled' }, 'disabled', false],
    [{ type: 'enabled', budget_tokens: 100 }, 'enabled', true],
    [{ type: 'adaptive' }, 'enabled', true],
    [{ type: 'adaptive', display: 'omitted' }, 'enabled', false],
  ])('thinks as asked: %j', (thinking, type, isShown) => {
    expect(chatOf({ thinking }).chat).toMatchObject({ thinking: { type }, include_reasoning: isShown });
  });

  it.each([
    [{ type: 'auto' }, undefined, undefined],
    [{ type: 'auto', disable_parallel_tool_use: true }, undefined, false],
    [{ type: 'any' }, 'required', undefined],
    [{ type: 'none' }, 'none', undefined],
    [{ type: 'tool', name: 'f' }, { type: 'function', function: { name: 'f' } }, undefined],
  ])('chooses tools as asked: %j', (tool_choice, choice, parallel) => {
    const { chat } = chatOf({ tool_choice, tools: [{ name: 'f', input_schema: {} }] });
    expect([chat.tool_choice, chat.parallel_tool_calls]).toEqual([choice, parallel]);
  });
});
