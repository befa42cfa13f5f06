import Anthropic, { APIError, BadRequestError, NotFoundError, RateLimitError } from '@anthropic-ai/sdk';
import { describe, expect, it } from 'vitest';
import { GenerationError } from '../../coordinator/src/scheduler/generation.ts';
import { answerWith, failureOf, post, prompts, server } from './answering.ts';

type Params = Anthropic.MessageCreateParamsNonStreaming;

const model = 'fake-model';
/** The SDK leaves out sampling parameters, which Anthropic's newest models don't have. */
const ask = (more: Partial<Params> & { temperature?: number; top_k?: number } = {}): Params => ({
  model,
  max_tokens: 200,
  messages: [{ role: 'user', content: 'Hi' }],
  ...more,
});
const thinking = { type: 'enabled', budget_tokens: 1024 } as const;
const tools: Anthropic.Tool[] = [
  { name: 'weather', description: 'The weather', input_schema: { type: 'object', properties: { city: {} } } },
];

function client(): Anthropic {
  return new Anthropic({ baseURL: server.url, apiKey: 'any', maxRetries: 0 });
}

/** Both ways to ask give the same message, but for the ids. */
async function both(params: Params): Promise<Anthropic.Message> {
  const whole = await client().messages.create(params);
  const streamed = await client().messages.stream(params).finalMessage();
  const plain = (message: Anthropic.Message) =>
    JSON.parse(JSON.stringify(message).replaceAll(/"(msg|toolu)_\w+"/g, '"$1"')) as object;
  expect(plain(streamed)).toMatchObject(plain(whole));
  return whole;
}

describe('messages', () => {
  it('answers whole and streamed with the same message', async () => {
    await answerWith('Hello, wörld.');
    const message = await both(ask({ temperature: 0.5, top_k: 7, system: [{ type: 'text', text: 'Be nice.' }] }));
    expect(message).toMatchObject({
      id: expect.stringMatching(/^msg_[0-9a-f]{32}$/),
      type: 'message',
      role: 'assistant',
      model,
      content: [{ type: 'text', text: 'Hello, wörld.' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
      usage: { input_tokens: 27, output_tokens: 14, cache_read_input_tokens: 0, cache_creation_input_tokens: 0 },
    });
    expect(prompts()[0]).toBe('system: Be nice.\nuser: Hi\n');
    expect(server.generation.submitted[0]).toMatchObject({ temperature: 0.5, topK: 7, maxTokens: 200 });
  });

  it('sends text as it comes, by events with names', async () => {
    await answerWith('ab');
    const types: string[] = [];
    let text = '';
    const stream = client().messages.stream(ask());
    stream.on('streamEvent', ({ type }) => types.push(type)).on('text', (delta) => (text += delta));
    await stream.done();
    expect(text).toBe('ab');
    expect(types).toEqual([
      'message_start',
      'content_block_start',
      'content_block_delta',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
  });

  it('has a block also where there is no text', async () => {
    await answerWith('');
    expect((await both(ask())).content).toEqual([{ type: 'text', text: '' }]);
  });

  it('says why it stopped', async () => {
    await answerWith('one two three');
    expect(await both(ask({ stop_sequences: ['two'] }))).toMatchObject({
      stop_reason: 'stop_sequence',
      stop_sequence: 'two',
      content: [{ text: 'one ' }],
    });
    expect(await both(ask({ max_tokens: 3 }))).toMatchObject({ stop_reason: 'max_tokens', content: [{ text: 'one' }] });
  });

  it('ends with the stop sequence also inside a call, which it does not ask to run', async () => {
    await answerWith('<call:weather>{"city":"Köln"}</call>');
    expect(await both(ask({ tools, stop_sequences: ['":'] }))).toMatchObject({
      stop_reason: 'stop_sequence',
      stop_sequence: '":',
      content: [{ type: 'tool_use', name: 'weather', input: {} }],
    });
    expect(await both(ask({ tools, stop_sequences: ['</call>'] }))).toMatchObject({
      stop_reason: 'tool_use',
      content: [{ input: { city: 'Köln' } }],
    });
  });

  it('thinks where that is asked for', async () => {
    await answerWith('<think>Let me see.</think>Four.');
    const message = await both(ask({ thinking }));
    expect(message.content).toEqual([
      { type: 'thinking', thinking: 'Let me see.', signature: '' },
      { type: 'text', text: 'Four.' },
    ]);
    expect(message.usage.output_tokens_details?.thinking_tokens).toBeGreaterThan(0);
    for (const without of [undefined, { type: 'disabled' }, { ...thinking, display: 'omitted' }] as const) {
      const { content } = await both(ask(without ? { thinking: without } : {}));
      expect(content).toMatchObject([{ type: 'text', text: 'Four.' }]);
    }
  });

  it('calls tools and takes their results', async () => {
    await answerWith(({ promptIds }) => {
      const prompt = Buffer.from(promptIds.slice(1)).toString();
      const text = prompt.includes('tool: ')
        ? 'Sunny.'
        : 'I ask.<call:weather>{"city":"Köln"}</call><call:weather>{}</call>';
      return { ids: [...Buffer.from(text)] };
    });
    const first = await both(ask({ tools, thinking }));
    expect(first.stop_reason).toBe('tool_use');
    expect(first.content).toMatchObject([
      { type: 'text', text: 'I ask.' },
      { type: 'tool_use', id: expect.stringMatching(/^toolu_/), name: 'weather', input: { city: 'Köln' } },
      { type: 'tool_use', name: 'weather', input: {} },
    ]);
    const results = first.content.flatMap((block) =>
      block.type === 'tool_use' ? [{ type: 'tool_result' as const, tool_use_id: block.id, content: 'warm' }] : [],
    );
    results[1]!.content = 'no city';
    const messages: Anthropic.MessageParam[] = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: first.content },
      {
        role: 'user',
        content: [
          results[0]!,
          { ...results[1]!, is_error: true },
          { type: 'text', text: 'So?', cache_control: { type: 'ephemeral' } },
        ],
      },
    ];
    const second = await both(ask({ tools, messages }));
    expect(second).toMatchObject({ stop_reason: 'end_turn', content: [{ text: 'Sunny.' }] });
    expect(prompts().at(-1)).toBe('user: Hi\nassistant: I ask.\ntool: warm\ntool: Error: no city\nuser: So?\n');
  });

  it('gives a call that was cut off no input', async () => {
    await answerWith('<call:weather>{"city":"K');
    const message = await client().messages.create(ask({ tools, max_tokens: 22 }));
    expect(message).toMatchObject({ stop_reason: 'max_tokens', content: [{ type: 'tool_use', input: {} }] });
  });

  it('binds the answer where a tool or a schema asks for it', async () => {
    const compiled: object[] = [];
    const grammar = { open: () => ({ allows: () => true }) as never };
    await answerWith('{}', {
      grammars: {
        compile: async (source) => {
          compiled.push(source);
          return grammar;
        },
      },
    });
    await client().messages.create(ask({ tools, tool_choice: { type: 'any' } }));
    await client().messages.create(ask({ tools, tool_choice: { type: 'tool', name: 'weather' } }));
    const schema = { type: 'object', additionalProperties: false };
    await client().messages.create(ask({ output_config: { format: { type: 'json_schema', schema } } }));
    expect(compiled).toEqual([{ kind: 'json-object' }, { kind: 'json-object' }, { kind: 'json-schema', schema }]);
    expect(server.generation.submitted.every(({ constraint }) => constraint !== undefined)).toBe(true);
  });

  it('lets the SDK run tools, which sends whole conversations where there are no threads', async () => {
    await answerWith(({ promptIds }) => {
      const prompt = Buffer.from(promptIds.slice(1)).toString();
      return { ids: [...Buffer.from(prompt.includes('tool: warm') ? 'Sunny.' : '<call:weather>{}</call>')] };
    });
    const { name, input_schema } = tools[0]!;
    const run = () => 'warm';
    for (const stream of [false, true]) {
      const params = {
        model,
        max_tokens: 200,
        messages: ask().messages,
        tools: [{ type: 'custom' as const, name, input_schema, run, parse: (input: unknown) => input }],
        stream,
      };
      const message = await client()
        .beta.messages.toolRunner(params as never)
        .runUntilDone();
      expect(message).toMatchObject({ content: [{ type: 'text', text: 'Sunny.' }] });
    }
    expect(prompts().at(-1)).toBe('user: Hi\nassistant: null\ntool: warm\n');
    const refused = await post('/v1/messages', { ...ask(), thread: { type: 'create' } });
    expect(await refused.json()).toMatchObject({ error: { details: { error_code: 'thread_unsupported_request' } } });
  });

  it('leaves out tools of Anthropic’s servers beside others, and says so', async () => {
    await answerWith('x');
    const body = { ...ask(), tools: [{ type: 'web_search_20250305', name: 'web_search' }, ...tools] };
    const response = await post('/v1/messages', body);
    expect(response.status).toBe(200);
    expect(response.headers.get('x-shoal-ignored-parameters')).toBe('tools[0]');
    const refused = await post('/v1/messages', { ...body, tools: body.tools.slice(0, 1) });
    expect(refused.status).toBe(400);
    expect(await refused.text()).toContain("'tools[0].type'");
  });

  it('goes on with the beginning of an answer', async () => {
    await answerWith(' end');
    const messages = [...ask().messages, { role: 'assistant' as const, content: 'The' }];
    expect(await both(ask({ messages }))).toMatchObject({ content: [{ text: ' end' }] });
  });

  it('begins an answer where its beginning has no text', async () => {
    await answerWith('Yes');
    for (const content of ['', ' \n', []]) {
      const messages = [...ask().messages, { role: 'assistant' as const, content }];
      expect(await both(ask({ messages }))).toMatchObject({ content: [{ text: 'Yes' }] });
      expect(prompts().at(-1)).toBe('user: Hi\n');
    }
    const alone = await post('/v1/messages', { max_tokens: 5, messages: [{ role: 'assistant', content: '' }] });
    expect([alone.status, await alone.text()]).toEqual([400, expect.stringContaining("'messages'")]);
  });

  it('names the model as the SDK’s list has it', async () => {
    await answerWith('Yes');
    const { data } = await client().models.list();
    expect(data).toMatchObject([{ id: model, type: 'model', display_name: model, created_at: expect.any(String) }]);
    expect(Date.parse(data[0]!.created_at)).toBeGreaterThan(0);
  });

  it('counts the tokens that a message would have', async () => {
    await answerWith('x');
    const params = {
      model,
      system: 'Be nice.',
      tools,
      messages: [{ role: 'user' as const, content: [{ type: 'text' as const, text: 'Hällo' }] }],
    };
    const { input_tokens } = await client().messages.countTokens(params);
    expect(server.generation.submitted).toEqual([]);
    const { usage } = await client().messages.create({ ...params, max_tokens: 5 });
    expect(input_tokens).toBe(usage.input_tokens);
  });
});

describe('errors of messages', () => {
  it('have the classes of the SDK, with the request’s id', async () => {
    await answerWith('x');
    const refused = (await failureOf(client().messages.create(ask({ max_tokens: 0 })))) as BadRequestError;
    expect(refused).toBeInstanceOf(BadRequestError);
    expect(refused.type).toBe('invalid_request_error');
    expect(refused.message).toContain("'max_tokens'");
    expect(refused.requestID).toMatch(/^[0-9a-f-]{36}$/);
    const unknown = await failureOf(client().messages.create(ask({ model: 'other' })));
    expect(unknown).toBeInstanceOf(NotFoundError);
    const long = await failureOf(
      client().messages.create(ask({ messages: [{ role: 'user', content: 'x'.repeat(5000) }] })),
    );
    expect(long).toBeInstanceOf(BadRequestError);
  });

  it('say when to come back', async () => {
    await answerWith('x');
    server.generation.refusal = new GenerationError('queue-full', 'full', 2);
    const busy = (await failureOf(client().messages.create(ask()))) as RateLimitError;
    expect(busy).toBeInstanceOf(RateLimitError);
    expect(busy.type).toBe('rate_limit_error');
    expect(busy.headers?.get('retry-after')).toBe('2');
    server.generation.refusal = new GenerationError('draining', 'draining', 1);
    expect(await failureOf(client().messages.create(ask()))).toMatchObject({ status: 503, type: 'overloaded_error' });
  });

  it('reach a stream that has begun', async () => {
    await answerWith(() => ({ ids: [65, 66], failAt: { index: 1, error: new GenerationError('internal', 'broken') } }));
    const error = (await failureOf(client().messages.stream(ask()).finalMessage())) as APIError;
    expect(error).toBeInstanceOf(APIError);
    expect(error.type).toBe('api_error');
    expect(error.error).toMatchObject({ type: 'error', request_id: expect.any(String) });
  });

  it.each([
    ['GET', '/v1/messages', 405],
    ['POST', '/v1/messages/batches', 404],
    ['POST', '//v1/messages/', 400],
  ])('have Anthropic’s shape also at %s %s', async (method, path, status) => {
    await answerWith('x');
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(server.url + path, { method, headers, ...(method === 'POST' && { body: '{}' }) });
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ type: 'error', error: { type: expect.any(String) } });
  });
});
