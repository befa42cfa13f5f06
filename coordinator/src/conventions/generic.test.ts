import { type ChatMessage, ChatTemplate, type ChatTool } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { chooseConvention } from './choose-convention.ts';
import type { Prepared } from './convention.ts';
import { readAnswer } from './testing/read-answer.ts';

/** As the default model's: texts strung together, without the system message. */
const DROPS_SYSTEM = "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}{% endfor %}";
/** As older models': user and assistant in turns, and no other roles. */
const IN_TURNS =
  "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}" +
  "<{{ m['role'] }}>{{ m['content'] }}{% endfor %}";
const WITH_SYSTEM = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}";

const tools: ChatTool[] = [{ type: 'function', function: { name: 'weather', description: 'Tells it' } }];
const call = (id: string, args: string): NonNullable<ChatMessage['tool_calls']>[number] => ({
  id,
  type: 'function',
  function: { name: 'weather', arguments: args },
});
const CONVERSATION: ChatMessage[] = [
  { role: 'system', content: 'Be kind.' },
  { role: 'user', content: 'Rome and Paris?' },
  { role: 'assistant', content: null, tool_calls: [call('a', '{"city": "Rome"}'), call('b', '')] },
  { role: 'tool', tool_call_id: 'a', content: 'sun' },
  { role: 'tool', tool_call_id: 'b', name: 'weather', content: 'rain' },
  { role: 'user', content: 'Thanks' },
];

function prepare(source: string, messages: readonly ChatMessage[], given = tools): Prepared & { text: string } {
  const template = new ChatTemplate(source);
  const { traits } = template;
  const prepared = chooseConvention({ template: source, traits }).prepare!(messages, given, traits);
  return { ...prepared, text: template.renderChat(prepared.messages, { tools: prepared.tools }) };
}

describe('the generic convention', () => {
  it('describes the tools in the system message, where the template prints one', () => {
    const { messages, text } = prepare(WITH_SYSTEM, CONVERSATION);
    expect(messages[0]!.role).toBe('system');
    expect(text).toMatch(
      /^<system>Be kind\.\n\nYou can call these functions:\n\{"name":"weather","description":"Tells it"\}/,
    );
    expect(prepare(WITH_SYSTEM, CONVERSATION.slice(1)).messages[0]!.role).toBe('system');
  });

  it.each([DROPS_SYSTEM, IN_TURNS])(
    'describes them to the user where it drops or refuses system messages',
    (source) => {
      const { messages, text } = prepare(source, CONVERSATION);
      expect(messages.map((message) => message.role)).toEqual(['user', 'assistant', 'user']);
      expect(text).toMatch(/Be kind\.\n\nYou can call these functions:[^]*\n\nRome and Paris\?/);
    },
  );

  it('writes calls as it asks for them, and hands results on in words', () => {
    const { messages, tools: left } = prepare(IN_TURNS, CONVERSATION);
    expect(left).toEqual([]);
    expect(messages[1]).toEqual({
      role: 'assistant',
      content: '{"name": "weather", "arguments": {"city": "Rome"}}\n{"name": "weather", "arguments": {}}',
    });
    expect(messages[2]!.content).toBe('Result of the call a:\nsun\n\nResult of the call weather b:\nrain\n\nThanks');
    const convention = chooseConvention({ template: IN_TURNS });
    const { calls } = readAnswer(convention, [messages[1]!.content!], { tools: [{ name: 'weather' }] });
    expect(calls.map((one) => one.arguments)).toEqual(['{"city": "Rome"}', '{}']);
  });

  it('leaves conversations without tools as they are', () => {
    const plain = [...CONVERSATION.slice(0, 2), CONVERSATION[1]!];
    expect(prepare(WITH_SYSTEM, plain, []).messages).toEqual(plain);
  });

  it('serves a conversation of results alone', () => {
    expect(prepare(IN_TURNS, [{ role: 'system', content: 'Be kind.' }]).messages).toHaveLength(1);
    expect(prepare(IN_TURNS, []).messages[0]!.role).toBe('user');
  });
});
