import { expect, it } from 'vitest';
import type { ChatRequestMessage } from './chat-schema.ts';
import { settledRoles } from './settled-roles.ts';

const of = (...messages: string[]): ChatRequestMessage[] =>
  messages.map((text) => {
    const [role, content = ''] = text.split(': ');
    return { role: role as ChatRequestMessage['role'], content };
  });

it('leaves one system message at the beginning, and joins what the user is told in a row', () => {
  const sent = of(
    'system: A',
    'developer: B',
    'user: C',
    'user: D',
    'assistant: E',
    'assistant: F',
    'user: G',
    'system: H',
  );
  const before = structuredClone(sent);
  expect(settledRoles(sent)).toEqual(
    of('system: A\n\nB', 'user: C\n\nD', 'assistant: E', 'assistant: F', 'user: G\n\nH'),
  );
  expect(sent).toEqual(before);
});

it('keeps results of calls, and empty messages, where they are', () => {
  const sent = of('user: ', 'user: A', 'tool: B', 'tool: C', 'system: D');
  expect(settledRoles(sent)).toEqual(of('user: A', 'tool: B', 'tool: C', 'user: D'));
});
