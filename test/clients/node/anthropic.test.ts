import Anthropic, { APIUserAbortError, BadRequestError, NotFoundError } from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { apiKey, expectStory, model, story, thrownBy, url, weatherArguments } from './shared.ts';

const client = new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });
const messages: Anthropic.MessageParam[] = [{ role: 'user', content: story }];
const weather: Anthropic.Tool = {
  name: 'get_weather',
  description: 'The weather at a place',
  input_schema: z.toJSONSchema(weatherArguments) as Anthropic.Tool.InputSchema,
};

describe('@anthropic-ai/sdk', () => {
  it('lists the model', async () => {
    const names: string[] = [];
    for await (const { id } of client.models.list()) names.push(id);
    expect(names[0]).toBe(model);
  });

  it('answers', async () => {
    const message = await client.messages.create({ model, max_tokens: 30, system: 'Be brief.', messages });
    const [block] = message.content;
    if (block?.type !== 'text') expect.unreachable();
    expectStory(block.text);
    expect(message).toMatchObject({ stop_reason: 'max_tokens', usage: { output_tokens: 30 } });
  });

  it('streams, by events and through its helper', async () => {
    const types: string[] = [];
    const events = await client.messages.create({ model, max_tokens: 30, messages, stream: true });
    for await (const { type } of events) types.push(type);
    expect([types[0], types.at(-1)]).toEqual(['message_start', 'message_stop']);
    let text = '';
    const stream = client.messages.stream({ model, max_tokens: 30, messages }).on('text', (delta) => (text += delta));
    expectStory(await stream.finalText());
    expect(text).toBe(await stream.finalText());
  });

  it('calls a tool and goes on with its result', async () => {
    const first = await client.messages.create({
      model,
      max_tokens: 1024,
      messages,
      tools: [weather],
      tool_choice: { type: 'tool', name: 'get_weather', disable_parallel_tool_use: true },
    });
    expect(first.stop_reason).toBe('tool_use');
    const call = first.content.find((block) => block.type === 'tool_use')!;
    expect(call.name).toBe('get_weather');
    weatherArguments.parse(call.input);
    const second = await client.messages.create({
      model,
      max_tokens: 30,
      tools: [weather],
      messages: [
        ...messages,
        { role: 'assistant', content: first.content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: 'Rain, 7 °C' }] },
      ],
    });
    expect(second.content.map(({ type }) => type)).toEqual(['text']);
  });

  it('streams a call', async () => {
    const inputs: string[] = [];
    const message = await client.messages
      .stream({
        model,
        max_tokens: 1024,
        messages,
        tools: [weather],
        tool_choice: { type: 'any', disable_parallel_tool_use: true },
      })
      .on('inputJson', (delta) => inputs.push(delta))
      .finalMessage();
    const call = message.content.find((block) => block.type === 'tool_use')!;
    expect(weatherArguments.parse(call.input)).toEqual(JSON.parse(inputs.join('')));
    expect(inputs.length).toBeGreaterThan(3);
  });

  it('runs tools', async () => {
    const ran: unknown[] = [];
    const runner = client.beta.messages.toolRunner({
      model,
      max_tokens: 1024,
      messages: [{ role: 'user', content: 'How is the weather in Oslo?' }],
      tools: [
        betaZodTool({
          name: 'get_weather',
          description: 'The weather at a place',
          inputSchema: weatherArguments,
          run: (input) => {
            ran.push(input);
            return 'Rain, 7 °C';
          },
        }),
      ],
      tool_choice: { type: 'any', disable_parallel_tool_use: true },
      max_iterations: 2,
    });
    const reasons: unknown[] = [];
    for await (const { stop_reason } of runner) reasons.push(stop_reason);
    expect(reasons).toEqual(['tool_use', 'tool_use']);
    expect(ran.length).toBeGreaterThanOrEqual(1);
    for (const input of ran) weatherArguments.parse(input);
  });

  it('parses an answer by its zod schema', async () => {
    // The SDK takes limits of length out of the schema, and the model writes strings without an end.
    const schema = z.object({ kind: z.enum(['fair', 'picnic']), place: z.object({ outside: z.boolean() }) });
    const { parsed_output } = await client.messages.parse({
      model,
      max_tokens: 1024,
      messages,
      output_config: { format: zodOutputFormat(schema) },
    });
    expect(schema.parse(parsed_output)).toEqual(parsed_output);
  });

  it('counts tokens as an answer does', async () => {
    const params = { model, messages, tools: [weather] };
    const { input_tokens } = await client.messages.countTokens(params);
    const { usage } = await client.messages.create({ ...params, max_tokens: 1 });
    expect(input_tokens).toBe(usage.input_tokens);
  });

  it('throws errors of its classes, and ends a stream that is aborted', async () => {
    const refused = await thrownBy(BadRequestError, () => client.messages.create({ model, max_tokens: -5, messages }));
    expect(refused.message).toContain('max_tokens');
    await thrownBy(NotFoundError, () => client.messages.create({ model: 'claude-0', max_tokens: 5, messages }));
    const stream = client.messages.stream({ model, max_tokens: 4000, messages });
    stream.once('text', () => stream.abort());
    await thrownBy(APIUserAbortError, () => stream.done());
  });
});
