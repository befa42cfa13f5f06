import { describe, expect, it } from 'vitest';
import { checkedItems, conversationOf } from './conversation.ts';
import type { InputItem } from './schema.ts';

const text = (value: string) => [{ type: 'output_text' as const, text: value }];

describe('conversationOf', () => {
  it('makes one message of what the assistant thought, said and called in a row', () => {
    const items: InputItem[] = [
      { type: 'message', role: 'developer', content: 'Be nice.' },
      {
        type: 'message',
        role: 'user',
        content: [
          { type: 'input_text', text: 'a' },
          { type: 'input_text', text: 'b' },
        ],
      },
      { type: 'reasoning', id: 'rs', summary: [{ type: 'summary_text', text: 'short' }] },
      { type: 'message', role: 'assistant', content: text('I ask.') },
      { type: 'function_call', call_id: 'c1', name: 'f', arguments: '{"x":1}' },
      { type: 'function_call', call_id: 'c2', namespace: 'n', name: 'g', arguments: '{}' },
      { type: 'function_call_output', call_id: 'c2', output: [{ type: 'input_text', text: 'two' }] },
      { type: 'function_call_output', call_id: 'c1', output: 'one' },
      { type: 'message', role: 'assistant', content: 'x' },
      { type: 'message', role: 'assistant', content: 'y' },
    ];
    const call = (id: string, name: string, args: string) => ({
      id,
      type: 'function',
      function: { name, arguments: args },
    });
    expect(conversationOf(items)).toEqual([
      { role: 'developer', content: 'Be nice.' },
      { role: 'user', content: 'ab' },
      {
        role: 'assistant',
        content: 'I ask.',
        reasoning_content: 'short',
        tool_calls: [call('c1', 'f', '{"x":1}'), call('c2', 'n__g', '{}')],
      },
      { role: 'tool', tool_call_id: 'c2', name: 'n__g', content: 'two' },
      { role: 'tool', tool_call_id: 'c1', name: 'f', content: 'one' },
      { role: 'assistant', content: 'x\n\ny' },
    ]);
  });

  it('takes reasoning once, where an item has it as content and as summary', () => {
    const reasoning: InputItem = {
      type: 'reasoning',
      content: [{ type: 'reasoning_text', text: 'long' }],
      summary: [{ type: 'summary_text', text: 'short' }],
    };
    expect(conversationOf([reasoning])).toEqual([{ role: 'assistant', content: '', reasoning_content: 'long' }]);
  });
});

describe('a call that was cut off', () => {
  it('is left out with its output, and a whole one stays', () => {
    const call = { type: 'function_call' as const, name: 'f', status: 'incomplete' };
    const items: InputItem[] = [
      { type: 'message', role: 'user', content: 'a' },
      { ...call, call_id: 'c1', arguments: '{}' },
      { ...call, call_id: 'c2', arguments: '{"ci' },
      { type: 'function_call_output', call_id: 'c2', output: 'not run' },
      { type: 'message', role: 'user', content: 'b' },
      { ...call, call_id: 'c3', arguments: '' },
    ];
    expect(conversationOf(items)).toEqual([
      { role: 'user', content: 'a' },
      {
        role: 'assistant',
        content: '',
        tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }],
      },
      { role: 'user', content: 'b' },
    ]);
  });
});

describe('checkedItems', () => {
  it('tells items without a type apart, and names what is missing', () => {
    expect(checkedItems([{ role: 'user', content: 'x' }, { id: 'msg_1' }]).map(({ type }) => type)).toEqual([
      'message',
      'item_reference',
    ]);
    expect(() =>
      checkedItems([
        { role: 'user', content: 'x' },
        { type: 'function_call', call_id: 'c', name: 'f' },
      ]),
    ).toThrow("'input[1].arguments'");
  });
});
