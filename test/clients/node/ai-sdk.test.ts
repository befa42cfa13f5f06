import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateObject, generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { apiKey, expectStory, model as name, story, thrownBy, url, weatherArguments } from './shared.ts';

const baseURL = `${url}/v1`;
const compatible = createOpenAICompatible({ name: 'shoal', baseURL, apiKey, supportsStructuredOutputs: true });
/** Each provider as its documentation creates it; openai's default is /v1/responses, and .chat the older endpoint. */
const models = {
  'openai-compatible': compatible(name),
  'openai (responses)': createOpenAI({ baseURL, apiKey })(name),
  'openai (chat)': createOpenAI({ baseURL, apiKey }).chat(name),
  anthropic: createAnthropic({ baseURL, apiKey })(name),
};
/** Without limits of length, which the providers take out of schemas. */
const schema = z.object({ kind: z.enum(['fair', 'picnic']), place: z.object({ outside: z.boolean() }) });
const short = { maxOutputTokens: 30, maxRetries: 0 };

function weatherTool() {
  const ran: z.infer<typeof weatherArguments>[] = [];
  const weather = tool({
    description: 'The weather at a place',
    inputSchema: weatherArguments,
    execute: (input) => {
      ran.push(weatherArguments.parse(input));
      return { temperature: 7 };
    },
  });
  return { ran, tools: { weather } };
}

describe.each(Object.entries(models))('ai with @ai-sdk/%s', (_, model) => {
  it('generates text', async () => {
    const { text, finishReason, usage } = await generateText({ model, system: 'Be brief.', prompt: story, ...short });
    expectStory(text);
    expect([finishReason, usage.outputTokens]).toEqual(['length', 30]);
  });

  it('streams text', async () => {
    const { textStream, text, finishReason } = streamText({ model, prompt: story, ...short });
    let parts = 0;
    for await (const part of textStream) parts += part.length > 0 ? 1 : 0;
    expect(parts).toBeGreaterThan(3);
    expectStory(await text);
    expect(await finishReason).toBe('length');
  });

  it('calls a tool, and answers with its result in a second step', async () => {
    const { ran, tools } = weatherTool();
    const { steps } = await generateText({
      model,
      tools,
      prompt: 'What is the weather in San Francisco?',
      stopWhen: stepCountIs(3),
      prepareStep: ({ stepNumber }) => ({
        toolChoice: stepNumber === 0 ? { type: 'tool', toolName: 'weather' } : 'auto',
      }),
      ...short,
      maxOutputTokens: 200,
    });
    expect(steps[0]!.finishReason).toBe('tool-calls');
    expect(steps).toHaveLength(2);
    expect(ran).toHaveLength(1);
    expect(steps[0]!.toolResults.map(({ output }) => output)).toEqual([{ temperature: 7 }]);
    expect(steps[1]!.usage.inputTokens).toBeGreaterThan(steps[0]!.usage.inputTokens!);
    expect(['stop', 'length']).toContain(steps[1]!.finishReason);
  });

  it('streams an object', async () => {
    const { partialOutputStream, output } = streamText({
      model,
      output: Output.object({ schema }),
      prompt: 'Plan an outing.',
      maxRetries: 0,
    });
    let partial: unknown;
    for await (partial of partialOutputStream);
    expect(schema.parse(await output)).toEqual(partial);
  });
});

describe('ai', () => {
  const model = compatible(name);

  it('generates an object', async () => {
    const { object } = await generateObject({ model, schema, prompt: 'Plan an outing.', maxRetries: 0 });
    expect(schema.parse(object)).toEqual(object);
  });

  it('streams a call', async () => {
    const { ran, tools } = weatherTool();
    const stream = streamText({
      model,
      tools,
      toolChoice: { type: 'tool', toolName: 'weather' },
      prompt: 'What is the weather in San Francisco?',
      maxRetries: 0,
    });
    const types = new Set<string>();
    for await (const { type } of stream.fullStream) types.add(type);
    expect([...types]).toEqual(
      expect.arrayContaining(['tool-input-start', 'tool-input-delta', 'tool-call', 'tool-result', 'finish']),
    );
    expect(ran).toHaveLength(1);
  });

  it('throws an error with the status, and ends where it is aborted', async () => {
    const refused = await thrownBy(APICallError, () =>
      generateText({ model: compatible('gpt-5'), prompt: story, maxRetries: 0 }),
    );
    expect(refused).toMatchObject({ statusCode: 404, isRetryable: false });
    expect(refused.message).toContain(name);
    const abort = new AbortController();
    let aborted = false;
    const { textStream } = streamText({
      model,
      prompt: story,
      abortSignal: abort.signal,
      onAbort: () => void (aborted = true),
    });
    for await (const _ of textStream) abort.abort();
    expect(aborted).toBe(true);
  });
});
