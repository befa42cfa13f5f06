import OpenAI, { APIUserAbortError, BadRequestError, NotFoundError } from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { describe, expect, it } from 'vitest';
import { apiKey, eventSchema, expectStory, model, story, thrownBy, url } from './shared.ts';

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const messages = [
  { role: 'developer' as const, content: 'Talk like a pirate.' },
  { role: 'user' as const, content: story },
];

describe('openai', () => {
  it('lists the model and finds it by its name', async () => {
    const names: string[] = [];
    for await (const { id } of client.models.list()) names.push(id);
    expect(names[0]).toBe(model);
    expect(await client.models.retrieve(model)).toMatchObject({ id: model, object: 'model' });
  });

  it('chats', async () => {
    const { choices, usage } = await client.chat.completions.create({ model, messages, max_completion_tokens: 30 });
    expectStory(choices[0]?.message.content);
    expect(choices[0]?.finish_reason).toBe('length');
    expect(usage).toMatchObject({ completion_tokens: 30, total_tokens: usage!.prompt_tokens + 30 });
  });

  it('streams a chat', async () => {
    const stream = await client.chat.completions.create({
      model,
      messages,
      max_completion_tokens: 30,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let tokens: number | undefined;
    for await (const { choices, usage } of stream) {
      text += choices[0]?.delta.content ?? '';
      tokens = usage?.completion_tokens ?? tokens;
    }
    expectStory(text);
    expect(tokens).toBe(30);
  });

  it('streams a chat through its helper', async () => {
    const stream = client.chat.completions.stream({ model, messages, max_completion_tokens: 30, logprobs: true });
    let text = '';
    let tokens = 0;
    stream.on('content', (delta) => (text += delta)).on('logprobs.content.delta', () => tokens++);
    const content = await stream.finalContent();
    expectStory(content);
    expect(text).toBe(content);
    expect(tokens).toBeGreaterThan(1);
    expect((await stream.finalChatCompletion()).choices[0]).toMatchObject({ finish_reason: 'length', index: 0 });
  });

  it('completes a text, whole and streamed', async () => {
    const params = { model, prompt: story, max_tokens: 30, seed: 7 };
    const { choices } = await client.completions.create({ ...params, logprobs: 2 });
    expectStory(choices[0]?.text);
    expect(choices[0]?.logprobs?.tokens).toHaveLength(30);
    let text = '';
    for await (const part of await client.completions.create({ ...params, stream: true }))
      text += part.choices[0]?.text;
    expect(text).toBe(choices[0]?.text);
  });

  it('parses an answer by its zod schema', async () => {
    const { choices } = await client.chat.completions.parse({
      model,
      messages: [
        { role: 'system', content: 'Extract the event information.' },
        { role: 'user', content: 'Alice and Bob are going to a science fair on Friday.' },
      ],
      response_format: zodResponseFormat(eventSchema, 'event'),
    });
    expect(choices[0]?.finish_reason).toBe('stop');
    expect(eventSchema.parse(choices[0]?.message.parsed)).toEqual(choices[0]?.message.parsed);
  });

  it('parses an answer while it comes', async () => {
    const stream = client.chat.completions.stream({
      model,
      messages,
      response_format: zodResponseFormat(eventSchema, 'event'),
    });
    const snapshots: unknown[] = [];
    stream.on('content.delta', ({ parsed }) => snapshots.push(parsed));
    const parsed = (await stream.finalChatCompletion()).choices[0]?.message.parsed;
    expect(eventSchema.parse(parsed)).toEqual(parsed);
    expect(snapshots.length).toBeGreaterThan(3);
  });

  it('says which parameter was wrong, and which model is unknown', async () => {
    const refused = await thrownBy(BadRequestError, () =>
      client.chat.completions.create({ model, messages, temperature: 7 }),
    );
    expect(refused).toMatchObject({ status: 400, param: 'temperature', type: 'invalid_request_error' });
    const unknown = await thrownBy(NotFoundError, () => client.chat.completions.create({ model: 'gpt-5', messages }));
    expect(unknown).toMatchObject({ status: 404, code: 'model_not_found' });
    expect(unknown.message).toContain(model);
    // A language model has none.
    const embeddings = await thrownBy(BadRequestError, () => client.embeddings.create({ model, input: story }));
    expect(embeddings.message).toContain('/v1/chat/completions');
  });

  it('ends a stream that is aborted or left', async () => {
    const stream = client.chat.completions.stream({ model, messages, ignore_eos: true } as never);
    stream.once('content', () => stream.abort());
    await thrownBy(APIUserAbortError, () => stream.done());
    let chunks = 0;
    for await (const _ of await client.chat.completions.create({ model, messages, stream: true }))
      if (++chunks === 2) break;
    expect(chunks).toBe(2);
  });
});
