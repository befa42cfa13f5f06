import OpenAI from 'openai';
import { zodFunction } from 'openai/helpers/zod';
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { apiKey, expectStory, model, story, url, weatherArguments } from './shared.ts';

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const messages: ChatCompletionMessageParam[] = [{ role: 'user', content: 'How is the weather this week in Oslo?' }];
const weather = zodFunction({
  name: 'get_weather',
  description: 'The weather at a place',
  parameters: weatherArguments,
});
const tools = [weather];

describe('openai, tools', () => {
  it('calls one and goes on with its result', async () => {
    const first = await client.chat.completions.create({
      model,
      messages,
      tools,
      tool_choice: 'required',
      parallel_tool_calls: false,
    });
    const { message, finish_reason } = first.choices[0]!;
    expect(finish_reason).toBe('tool_calls');
    expect(message.tool_calls).toHaveLength(1);
    const call = message.tool_calls![0]!;
    if (call.type !== 'function') expect.unreachable();
    expect(call.function.name).toBe('get_weather');
    weatherArguments.parse(JSON.parse(call.function.arguments));
    const second = await client.chat.completions.create({
      model,
      messages: [...messages, message, { role: 'tool', tool_call_id: call.id, content: '{"temperature": 7}' }],
      tools,
      max_completion_tokens: 30,
    });
    expect(second.choices[0]?.message).toMatchObject({ role: 'assistant', content: expect.any(String) });
    expect(second.usage!.prompt_tokens).toBeGreaterThan(first.usage!.prompt_tokens);
  });

  it('streams a call in pieces that its helper puts together', async () => {
    const stream = client.chat.completions.stream({
      model,
      messages,
      tools,
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
    });
    let pieces = 0;
    stream.on('tool_calls.function.arguments.delta', () => pieces++);
    const done: unknown[] = [];
    stream.on('tool_calls.function.arguments.done', (event) => done.push(event.parsed_arguments));
    const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0]!;
    expect(finish_reason).toBe('tool_calls');
    expect(pieces).toBeGreaterThan(3);
    expect([done.length, message.tool_calls?.length]).toEqual([1, 1]);
    weatherArguments.parse(done[0]);
  });

  it('runs tools until one was asked for by name', async () => {
    const ran: unknown[] = [];
    const runner = client.chat.completions.runTools({
      model,
      messages,
      tools: [
        zodFunction({
          name: 'get_weather',
          parameters: weatherArguments,
          function: (args) => {
            ran.push(args);
            return 'Rain, 7 °C';
          },
        }),
      ],
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
    });
    const result = await runner.finalFunctionToolCallResult();
    expect(result).toBe('Rain, 7 °C');
    expect(ran).toHaveLength(1);
    weatherArguments.parse(ran[0]);
  });

  it('runs several tools over several turns', async () => {
    const ran: string[] = [];
    const tool = <Args extends z.ZodType>(name: string, parameters: Args) =>
      zodFunction({
        name,
        parameters,
        function: () => {
          ran.push(name);
          return { done: true };
        },
      });
    const runner = client.chat.completions.runTools(
      {
        model,
        messages,
        stream: true,
        tools: [tool('get_location', z.object({})), tool('count', z.object({ to: z.number().int() }))],
        tool_choice: 'required',
        parallel_tool_calls: false,
      },
      { maxChatCompletions: 2 },
    );
    await runner.done();
    expect(ran).toHaveLength(2);
    expect(runner.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant', 'tool']);
  });

  it('answers in words where tools may not or need not be called', async () => {
    for (const tool_choice of ['none', 'auto'] as const) {
      const { choices } = await client.chat.completions.create({
        model,
        messages: [{ role: 'user', content: story }],
        tools,
        tool_choice,
        max_completion_tokens: 20,
      });
      expect(choices[0]?.message.tool_calls).toBeUndefined();
      expectStory(choices[0]?.message.content);
    }
  });
});
