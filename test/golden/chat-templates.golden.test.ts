import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ChatMessage, ChatTemplate, type ChatTool } from '@shoal/model';
import { describe, expect, it } from 'vitest';

interface Fixture {
  templates: Record<string, { source: string; argumentsAs: string; rendered: Record<string, string | null> }>;
  cases: Record<
    string,
    {
      messages: ChatMessage[];
      tools?: ChatTool[];
      variables?: Record<string, unknown>;
      add_generation_prompt?: boolean;
    }
  >;
}

const path = join(import.meta.dirname, 'fixtures/chat-templates.json');
const { templates, cases } = JSON.parse(readFileSync(path, 'utf8')) as Fixture;

describe.each(Object.entries(templates))('the template "%s"', (_, { source, argumentsAs, rendered }) => {
  const template = new ChatTemplate(source, { bos_token: '<s>', eos_token: '</s>' });

  it('wants arguments in this form', () => {
    expect(template.traits.argumentsAs).toBe(argumentsAs);
  });

  it.each(Object.entries(rendered))('renders "%s" as transformers does', (name, expected) => {
    const { messages, tools, variables, add_generation_prompt: addGenerationPrompt } = cases[name]!;
    const render = (): string => template.renderChat(messages, { tools, variables, addGenerationPrompt });
    if (expected === null) expect(render).toThrow(/refuses these messages/);
    else expect(render()).toBe(expected);
  });
});
