import type { ChatMessage } from '@shoal/model';
import { expect, it, vi } from 'vitest';
import { settledRoles } from './settled-roles.ts';

const of = (...messages: string[]): ChatMessage[] =>
  messages.map((text) => {
    const [role = '', content = ''] = text.split(': ');
    return { role, content };
  });

const sent = of(
  'system: A',
  'system: B',
  'user: C',
  'user: D',
  'assistant: E',
  'assistant: F',
  'tool: G',
  'user: H',
  'system: I',
);
const none = { systemAnywhere: false, usersInARow: false };

it('leaves a conversation as it is where the template takes it', () => {
  expect(settledRoles(sent, { systemAnywhere: true, usersInARow: true })).toEqual(sent);
});

it('joins system messages at the beginning, and gives later ones to the user', () => {
  expect(settledRoles(sent, { ...none, usersInARow: true })).toEqual(
    of('system: A\n\nB', 'user: C', 'user: D', 'assistant: E', 'assistant: F', 'tool: G', 'user: H\n\nI'),
  );
  expect(settledRoles(of('user: A', 'tool: B', 'system: C'), none)).toEqual(of('user: A', 'tool: B', 'user: C'));
});

it('joins what the user is told in a row', () => {
  const before = structuredClone(sent);
  expect(settledRoles(sent, none)).toEqual(
    of('system: A\n\nB', 'user: C\n\nD', 'assistant: E', 'assistant: F', 'tool: G', 'user: H\n\nI'),
  );
  expect(sent).toEqual(before);
  expect(settledRoles(of('user: ', 'user: A'), none)).toEqual(of('user: A'));
});

it('joins thousands of messages once, and skips empty ones', () => {
  const join = vi.spyOn(Array.prototype, 'join');
  const many = Array.from({ length: 4_000 }, (_, index) => `system: ${index % 2 ? index : ''}`);
  const [settled, user] = settledRoles(of(...many, 'user: A'), none);
  expect(join).toHaveBeenCalledTimes(1);
  join.mockRestore();
  expect(settled?.content?.split('\n\n')).toHaveLength(2_000);
  expect(user?.content).toBe('A');
});
