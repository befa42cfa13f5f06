import { describe, expect, it } from 'vitest';
import {
  asksForAnswer,
  type ChatValues,
  initialChat,
  messagesOf,
  missingResult,
  readSettings,
  turnsToShow,
} from './chat-request.ts';
import type { AssistantTurn, Turn, UserTurn } from './conversation.ts';
import { exampleSchema, exampleTools } from './json-checks.ts';

const user = (key: number, content: string): UserTurn => ({ key, role: 'user', content });
const assistant = (key: number, change: Partial<AssistantTurn> = {}): AssistantTurn => ({
  key,
  role: 'assistant',
  content: 'Yes',
  reasoning: '',
  reasoningTokens: 0,
  calls: [],
  asJson: false,
  ...change,
});
const call = (result: string) => ({ id: 'c1', name: 'f', arguments: '{}', result });
const settings = (change: Partial<ChatValues>): unknown => {
  const read = readSettings({ ...initialChat, max_tokens: '', ...change });
  return read.ok ? read.settings : read.faults;
};

describe('messages', () => {
  it('have the system prompt first, calls with their results, and know where they come from', () => {
    const turns = [user(1, 'Hi'), assistant(2, { content: '', reasoning: 'hm', calls: [call('ok')] }), user(3, 'So?')];
    expect(messagesOf('Be kind.', turns)).toEqual({
      messages: [
        { role: 'system', content: 'Be kind.' },
        { role: 'user', content: 'Hi' },
        {
          role: 'assistant',
          content: null,
          reasoning_content: 'hm',
          tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }],
        },
        { role: 'tool', tool_call_id: 'c1', content: 'ok' },
        { role: 'user', content: 'So?' },
      ],
      sources: ['system', 1, 2, 2, 3],
    });
    expect(messagesOf('', [])).toEqual({ messages: [], sources: [] });
  });
});

describe('settings', () => {
  it('are empty where all is left to the server', () => {
    expect(settings({})).toEqual({});
    // A choice among tools that are gone means nothing.
    expect(settings({ tool_choice: 'required' })).toEqual({});
  });
  it('have tools, a choice and a schema', () => {
    expect(settings({ tools: exampleTools, tool_choice: 'required', schema: exampleSchema })).toEqual({
      tools: JSON.parse(exampleTools),
      tool_choice: 'required',
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'answer', schema: JSON.parse(exampleSchema), strict: true },
      },
    });
    expect(settings({ tools: exampleTools, tool_choice: 'function:get_weather' })).toMatchObject({
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
    });
    expect(settings({ tools: exampleTools, tool_choice: 'function:gone' })).not.toHaveProperty('tool_choice');
  });
  it('name every field that is wrong', () => {
    expect(settings({ tools: '{', schema: '[]', temperature: 'hot' })).toMatchObject({
      tools: expect.any(String),
      schema: expect.any(String),
      temperature: expect.any(String),
    });
  });
});

describe('what a conversation waits for', () => {
  const waiting: Turn[] = [user(1, 'Hi'), assistant(2, { calls: [call('ok'), call(' ')] })];
  it('is an answer to the last message, or to results', () => {
    expect(asksForAnswer([])).toBe(false);
    expect(asksForAnswer([user(1, 'Hi')])).toBe(true);
    expect(asksForAnswer([user(1, 'Hi'), assistant(2)])).toBe(false);
    expect(asksForAnswer(waiting)).toBe(false);
    expect(asksForAnswer([user(1, 'Hi'), assistant(2, { calls: [call('ok')] })])).toBe(true);
  });
  it('is the first result that is missing', () => {
    expect(missingResult(waiting)).toBe('result-2-1');
    expect(missingResult([...waiting, user(3, 'x')])).toBeNull();
  });
});

describe('the request to show as code', () => {
  const [hi, yes] = [user(1, 'Hi'), assistant(2)];
  it.each<[string, Turn[], string, Turn[]]>([
    ['has the typed message', [hi, yes], 'So?', [hi, yes, user(0, 'So?')]],
    ['is the last one that was answered', [hi, yes], '', [hi]],
    ['is the one that waits for an answer', [hi], '', [hi]],
    [
      'has results once they are typed',
      [hi, assistant(2, { calls: [call('ok')] })],
      '',
      [hi, assistant(2, { calls: [call('ok')] })],
    ],
    ['has no call without its result', [hi, assistant(2, { calls: [call('')] })], 'So?', [hi]],
    ['is none without a message', [], '', []],
  ])('%s', (_, turns, message, shown) => {
    expect(turnsToShow(turns, message)).toEqual(shown);
  });
});
