import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ChatTemplate } from '@shoal/model';
import { PythonTemplate } from '../../packages/model/src/jinja/template.ts';
import { parseCases, preparedComparisons } from './chat-template-cases.ts';

const cases = parseCases(readFileSync(join(import.meta.dirname, 'fixtures/chat-templates.json'), 'utf8'));

describe.each(Object.entries(cases.templates))('the template "%s"', (_, of) => {
  it('wants arguments in this form', () => {
    expect(new ChatTemplate(of.source).traits.argumentsAs).toBe(of.argumentsAs);
  });

  it.each(preparedComparisons(cases, of))('renders "$name" as transformers does', ({ expected, actual }) => {
    if (expected === null) expect(actual).toThrow(/refuses these messages/);
    else expect(actual()).toBe(expected);
  });
});

it('renders 3,001 messages', () => {
  const { source } = cases.templates['thinks']!;
  const messages = Array.from({ length: 3_001 }, (_, i) => ({
    role: i % 2 ? 'assistant' : 'user',
    content: `turn ${i}`,
  }));
  const text = new ChatTemplate(source).renderChat(messages);
  for (const { content } of messages) expect(text).toContain(content);
});

describe('an expression', () => {
  // The fixture's time, in local time.
  beforeAll(() => vi.useFakeTimers({ now: new Date(2026, 2, 5, 17, 4, 9), toFake: ['Date'] }));
  afterAll(() => vi.useRealTimers());

  it.each(Object.entries(cases.snippets))('%s is what Jinja makes of it', (source, expected) => {
    const actual = (): string => new PythonTemplate(source).render(cases.values);
    if (expected === null) expect(actual).toThrow();
    else expect(actual()).toBe(expected);
  });
});
