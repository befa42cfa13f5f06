import OpenAI, { APIUserAbortError, BadRequestError } from 'openai';
import { zodResponsesFunction, zodTextFormat } from 'openai/helpers/zod';
import type { ResponseInputItem } from 'openai/resources/responses/responses';
import { describe, expect, it } from 'vitest';
import { apiKey, eventSchema, expectStory, model, story, thrownBy, url, weatherArguments } from './shared.ts';

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const short = { model, max_output_tokens: 30 };

describe('openai, responses', () => {
  it('answers, and goes on where an answer ended', async () => {
    const first = await client.responses.create({ ...short, instructions: 'Talk like a pirate.', input: story });
    expectStory(first.output_text);
    expect(first).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      usage: { output_tokens: 30 },
    });
    const second = await client.responses.create({
      ...short,
      previous_response_id: first.id,
      input: [{ role: 'user', content: 'And then' }],
    });
    expect(second.usage!.input_tokens).toBeGreaterThan(first.usage!.input_tokens + 30);
  });

  it('streams', async () => {
    const stream = await client.responses.create({ ...short, input: story, stream: true });
    let text = '';
    const types: string[] = [];
    for await (const event of stream) {
      types.push(event.type);
      if (event.type === 'response.output_text.delta') text += event.delta;
    }
    expectStory(text);
    expect(types[0]).toBe('response.created');
    expect(types.at(-1)).toMatch(/^response\.(completed|incomplete)$/);
  });

  it('streams through its helper', async () => {
    const stream = client.responses.stream({ ...short, input: story });
    let text = '';
    stream.on('response.output_text.delta', ({ delta }) => (text += delta));
    const { output_text } = await stream.finalResponse();
    expectStory(output_text);
    expect(text).toBe(output_text);
  });

  it('parses an answer by its zod schema, whole and streamed', async () => {
    const params = { model, input: 'Alice goes to a fair.', text: { format: zodTextFormat(eventSchema, 'event') } };
    const { output_parsed } = await client.responses.parse(params);
    expect(eventSchema.parse(output_parsed)).toEqual(output_parsed);
    const streamed = await client.responses.stream(params).finalResponse();
    expect(eventSchema.parse(streamed.output_parsed)).toEqual(streamed.output_parsed);
  });

  it('calls a tool and goes on with its result', async () => {
    const tools = [zodResponsesFunction({ name: 'get_weather', parameters: weatherArguments })];
    const input: ResponseInputItem[] = [{ role: 'user', content: 'How is the weather in Oslo?' }];
    const first = await client.responses.parse({
      model,
      input,
      tools,
      tool_choice: 'required',
      parallel_tool_calls: false,
    });
    const calls = first.output.filter((item) => item.type === 'function_call');
    expect(calls).toHaveLength(1);
    expect(calls[0]!.name).toBe('get_weather');
    weatherArguments.parse(calls[0]!.parsed_arguments);
    const second = await client.responses.create({
      ...short,
      tools,
      input: [
        ...input,
        ...(first.output as ResponseInputItem[]),
        { type: 'function_call_output', call_id: calls[0]!.call_id, output: '{"temperature": 7}' },
      ],
    });
    expect(second.output.map(({ type }) => type)).toEqual(['message']);
    expect(second.usage!.input_tokens).toBeGreaterThan(first.usage!.input_tokens);
  });

  it('names a wrong parameter, and ends a stream that is aborted', async () => {
    const refused = await thrownBy(BadRequestError, () =>
      client.responses.create({ ...short, input: story, temperature: 7 }),
    );
    expect(refused.param).toBe('temperature');
    const stream = client.responses.stream({ model, input: story });
    stream.once('response.output_text.delta', () => stream.abort());
    await thrownBy(APIUserAbortError, () => stream.done());
  });
});
