import OpenAI, { APIError, BadRequestError, NotFoundError } from 'openai';
import { describe, expect, it } from 'vitest';
import { GenerationError } from '../../coordinator/src/scheduler/generation.ts';
import { answerWith, failureOf, post, prompts, says, server } from './answering.ts';

type Params = OpenAI.Responses.ResponseCreateParamsNonStreaming;

const model = 'fake-model';
const ask = (more: Partial<Params> = {}): Params => ({ model, input: 'Hi', ...more });
const weather: OpenAI.Responses.FunctionTool = {
  type: 'function',
  name: 'weather',
  parameters: { type: 'object', properties: { city: {} } },
  strict: false,
};

function client(headers: Record<string, string> = {}): OpenAI {
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0, defaultHeaders: headers });
}

/** Ids and times, in which two answers differ. */
const withoutIds = (response: object) =>
  JSON.parse(
    JSON.stringify(response)
      .replaceAll(/"(resp|msg|rs|fc|call)_\w+"/g, '"$1"')
      .replaceAll(/"(created_at|completed_at)":\d+/g, '"$1":0'),
  ) as object;

/** Both ways to ask give the same answer. */
async function both(params: Params): Promise<OpenAI.Responses.Response> {
  const whole = await client().responses.create(params);
  const streamed = await client()
    .responses.stream({ ...params, stream: true })
    .finalResponse();
  expect(withoutIds(streamed)).toMatchObject(withoutIds(whole));
  return whole;
}

/** What the SDK puts together from a stream's pieces, without the whole answer in its last event. */
async function accumulated(params: Params): Promise<unknown[]> {
  const { accumulateResponse } = await import('openai/lib/responses/ResponseAccumulator');
  let snapshot: OpenAI.Responses.Response | undefined;
  let sequence = 0;
  for await (const event of await client().responses.create({ ...params, stream: true })) {
    expect(event.sequence_number).toBe(sequence++);
    // Items are complete with this event; the pieces before it must have said the same.
    if (event.type === 'response.output_item.done') {
      const pieces = snapshot!.output[event.output_index]!;
      expect({ ...event.item, status: 'in_progress' }).toMatchObject({ ...pieces });
    }
    if (event.type !== 'response.completed' && event.type !== 'response.incomplete') {
      snapshot = accumulateResponse(event, snapshot);
    }
  }
  return snapshot!.output;
}

describe('responses', () => {
  it('answers whole and streamed with the same response', async () => {
    await answerWith('Hello, wörld.');
    const response = await both(ask({ instructions: 'Be nice.', temperature: 0.5, metadata: { a: 'b' } }));
    expect(response).toMatchObject({
      id: expect.stringMatching(/^resp_[0-9a-f]{32}$/),
      object: 'response',
      status: 'completed',
      model,
      output_text: 'Hello, wörld.',
      output: [{ type: 'message', role: 'assistant', status: 'completed', id: expect.stringMatching(/^msg_/) }],
      usage: { input_tokens: 27, output_tokens: 14, total_tokens: 41 },
      instructions: 'Be nice.',
      temperature: 0.5,
      top_p: 0.9,
      metadata: { a: 'b' },
      store: true,
      tool_choice: 'auto',
      tools: [],
      text: { format: { type: 'text' } },
    });
    expect(prompts()[0]).toBe('system: Be nice.\nuser: Hi\n');
  });

  it('streams pieces of which the SDK makes the same items', async () => {
    await answerWith('<think>Hm.</think>I ask.<call:weather>{"city":"Köln"}</call>Done.');
    for (const reasoning of [null, { summary: 'auto' as const }]) {
      const params = ask({ tools: [weather], include: ['message.output_text.logprobs'], top_logprobs: 1, reasoning });
      const { output } = await both(params);
      expect(withoutIds(await accumulated(params))).toEqual(withoutIds(output));
      const thought = [{ type: reasoning ? 'summary_text' : 'reasoning_text', text: 'Hm.' }];
      expect(output).toMatchObject([
        { type: 'reasoning', ...(reasoning ? { summary: thought, content: [] } : { summary: [], content: thought }) },
        { type: 'message', content: [{ text: 'I ask.' }] },
        { type: 'function_call', name: 'weather', arguments: '{"city":"Köln"}', call_id: expect.any(String) },
        { type: 'message', content: [{ text: 'Done.' }] },
      ]);
      const [, first] = output as [unknown, { content: { logprobs: { token: string; top_logprobs: object[] }[] }[] }];
      expect(first.content[0]!.logprobs.map(({ token }) => token).join('')).toBe('I ask.');
      expect(first.content[0]!.logprobs[0]!.top_logprobs).toHaveLength(1);
    }
  });

  it('says that an answer was cut off', async () => {
    await answerWith('one two three');
    const response = await both(ask({ max_output_tokens: 3 }));
    expect(response).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ status: 'incomplete', content: [{ text: 'one' }] }],
    });
  });

  it('says that a call was cut off, by the limit or a stop string, and goes on without it', async () => {
    await answerWith('I ask.<call:weather>{"city":"Köln"}</call>');
    const cut = [{ max_output_tokens: 28 }, { stop: ['":'] } as object];
    for (const more of cut) {
      const first = await both(ask({ tools: [weather], ...more }));
      expect(first).toMatchObject({
        status: 'stop' in more ? 'completed' : 'incomplete',
        output: [
          { type: 'message', status: 'completed' },
          { type: 'function_call', status: 'incomplete', arguments: expect.stringMatching(/^\{"ci/) },
        ],
      });
      await client().responses.create(ask({ tools: [weather], input: 'Well?', previous_response_id: first.id }));
      expect(prompts().at(-1)).toBe('user: Hi\nassistant: I ask.\nuser: Well?\n');
    }
  });

  it('calls functions and takes their outputs', async () => {
    await answerWith(({ promptIds }) => {
      const prompt = Buffer.from(promptIds.slice(1)).toString();
      return { ids: says(prompt.includes('tool: ') ? 'Sunny.' : '<think>?</think><call:weather>{}</call>') };
    });
    const first = await both(ask({ tools: [weather] }));
    const call = first.output[1] as OpenAI.Responses.ResponseFunctionToolCall;
    const output = { type: 'function_call_output' as const, call_id: call.call_id, output: 'warm' };
    const input = [{ role: 'user' as const, content: 'Hi' }, ...first.output, output] as OpenAI.Responses.ResponseInput;
    const second = await both(ask({ tools: [weather], input }));
    expect(second.output_text).toBe('Sunny.');
    const third = await client().responses.create(
      ask({ tools: [weather], input: [output], previous_response_id: first.id }),
    );
    expect(third.output_text).toBe('Sunny.');
    expect(prompts().slice(-2)).toEqual(Array(2).fill('user: Hi\nassistant: null\ntool: warm\n'));
  });

  it('calls functions of a namespace, and takes the calls back', async () => {
    await answerWith(({ promptIds }) => {
      const prompt = Buffer.from(promptIds.slice(1)).toString();
      return { ids: says(prompt.includes('tool: ') ? 'Sunny.' : '<call:maps__weather>{}</call>') };
    });
    const maps = { type: 'namespace', name: 'maps', description: 'Maps', tools: [weather] } as OpenAI.Responses.Tool;
    const first = await both(ask({ tools: [maps] }));
    expect(first.output).toMatchObject([{ type: 'function_call', namespace: 'maps', name: 'weather' }]);
    expect(first.tools).toMatchObject([{ type: 'namespace', tools: [{ name: 'weather' }] }]);
    const call = first.output[0] as OpenAI.Responses.ResponseFunctionToolCall;
    const output = { type: 'function_call_output' as const, call_id: call.call_id, output: 'warm' };
    const input = [{ role: 'user' as const, content: 'Hi' }, ...first.output, output] as OpenAI.Responses.ResponseInput;
    expect((await client().responses.create(ask({ tools: [maps], input }))).output_text).toBe('Sunny.');
  });

  it('leaves out tools of OpenAI’s servers beside others, and says so', async () => {
    await answerWith('x');
    const response = await post('/v1/responses', { ...ask(), tools: [{ type: 'web_search' }, weather] });
    expect(response.status).toBe(200);
    expect(response.headers.get('x-shoal-ignored-parameters')).toBe('tools[0]');
    expect(await response.json()).toMatchObject({ tools: [{ name: 'weather' }] });
    const refused = (await failureOf(
      client().responses.create(ask({ tools: [{ type: 'web_search' }] })),
    )) as BadRequestError;
    expect(refused).toMatchObject({ status: 400, param: 'tools[0].type' });
  });

  it('keeps the end of a prompt that is too long, where that is asked for', async () => {
    await answerWith('x', {}, 100);
    const input = 'a'.repeat(200);
    expect(await failureOf(client().responses.create(ask({ input })))).toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
      param: 'input',
    });
    const { usage } = await client().responses.create(ask({ input, truncation: 'auto', max_output_tokens: 10 }));
    expect(usage).toMatchObject({ input_tokens: 90 });
  });

  it('counts the tokens of an input', async () => {
    await answerWith('x');
    const { input_tokens } = await client().responses.inputTokens.count({ model, input: 'Hällo', tools: [weather] });
    expect(server.generation.submitted).toEqual([]);
    const { usage } = await client().responses.create(ask({ input: 'Hällo', tools: [weather] }));
    expect(input_tokens).toBe(usage!.input_tokens);
  });
});

describe('errors of responses', () => {
  it('have the classes and parameters that the SDK knows', async () => {
    await answerWith('x');
    const unknown = await failureOf(client().responses.create(ask({ model: 'other' })));
    expect(unknown).toBeInstanceOf(NotFoundError);
    const image = [
      { role: 'user', content: [{ type: 'input_image', image_url: 'x' }] },
    ] as OpenAI.Responses.ResponseInput;
    expect(await failureOf(client().responses.create(ask({ input: image })))).toMatchObject({
      status: 400,
      param: expect.stringMatching(/^input/),
    });
    expect(await failureOf(client().responses.create(ask({ background: true })))).toMatchObject({
      param: 'background',
    });
  });

  it('end a stream with the events of a failure, at which the SDK throws', async () => {
    await answerWith(() => ({ ids: [65, 66], failAt: { index: 1, error: new GenerationError('internal', 'broken') } }));
    const types: string[] = [];
    const work = async () => {
      for await (const event of await client().responses.create({ ...ask(), stream: true })) {
        types.push(event.type);
        if (event.type === 'response.failed') expect(event.response.error?.code).toBe('internal_error');
      }
    };
    expect(await failureOf(work())).toBeInstanceOf(APIError);
    expect(types.at(-1)).toBe('response.failed');
  });
});

describe('stored responses', () => {
  it('are gone on from, but not with their instructions', async () => {
    await answerWith(({ promptIds }) => ({ ids: says(`n${promptIds.length}`) }));
    const first = await client().responses.create(ask({ input: 'one', instructions: 'Old.' }));
    const second = await client().responses.create(
      ask({ input: 'two', instructions: 'New.', previous_response_id: first.id }),
    );
    const third = await client().responses.create(ask({ input: 'three', previous_response_id: second.id }));
    expect(third.previous_response_id).toBe(second.id);
    expect(prompts().slice(1)).toEqual([
      `system: New.\nuser: one\nassistant: ${first.output_text}\nuser: two\n`,
      `user: one\nassistant: ${first.output_text}\nuser: two\nassistant: ${second.output_text}\nuser: three\n`,
    ]);
    const { data } = await client().responses.inputItems.list(third.id, { order: 'asc' });
    expect(data.map((item) => (item as { content: { text: string }[] }).content[0]!.text)).toEqual([
      'one',
      first.output_text,
      'two',
      second.output_text,
      'three',
    ]);
  });

  it('are read, listed in pages and deleted', async () => {
    await answerWith('<think>a</think>b');
    const created = await client()
      .responses.stream({ model, input: 'Hi', metadata: { k: 'v' } })
      .finalResponse();
    const read = await client().responses.retrieve(created.id);
    const { output_parsed: _, output, ...rest } = created;
    expect(read).toMatchObject(rest);
    expect(read.output.map(({ id }) => id)).toEqual(output.map(({ id }) => id));
    expect(read.output_text).toBe('b');
    const input = ['1', '2', '3'].map((content) => ({ role: 'user' as const, content }));
    const long = await client().responses.create(ask({ input }));
    const page = await client().responses.inputItems.list(long.id, { limit: 2 });
    expect(page.data).toHaveLength(2);
    const next = await page.getNextPage();
    expect(next.data).toMatchObject([{ content: [{ text: '1' }] }]);
    await client().responses.delete(created.id);
    expect(await failureOf(client().responses.retrieve(created.id))).toBeInstanceOf(NotFoundError);
  });

  it('lend their items by id', async () => {
    await answerWith('<think>deep</think>said');
    const first = await client().responses.create(ask());
    const input = [
      ...first.output.map(({ id }) => ({ type: 'item_reference' as const, id: id! })),
      { role: 'user' as const, content: 'So?' },
    ];
    await client().responses.create(ask({ input }));
    expect(prompts()[1]).toBe('assistant: said\nuser: So?\n');
    const unknown = await failureOf(
      client().responses.create(ask({ input: [{ type: 'item_reference', id: 'msg_x' }] })),
    );
    expect(unknown).toMatchObject({ status: 404, param: 'input[0].id' });
  });

  it('are not kept where the client does not want it', async () => {
    await answerWith('x');
    const { id, store } = (await client().responses.create(ask({ store: false }))) as { id: string; store?: boolean };
    expect(store).toBe(false);
    expect(await failureOf(client().responses.retrieve(id))).toBeInstanceOf(NotFoundError);
  });

  it('are unknown to everybody else, as if they did not exist', async () => {
    await answerWith('secret');
    const page = client({ origin: 'https://a.example' });
    const { id, output } = await page.responses.create(ask());
    for (const other of [client(), client({ origin: 'https://b.example' })]) {
      const unknown = await failureOf(other.responses.retrieve('resp_unknown'));
      const refused = await failureOf(other.responses.retrieve(id));
      expect((refused as APIError).error).toEqual((unknown as APIError).error);
      expect(await failureOf(other.responses.delete(id))).toBeInstanceOf(NotFoundError);
      expect(await failureOf(other.responses.inputItems.list(id))).toBeInstanceOf(NotFoundError);
      const goOn = await failureOf(other.responses.create(ask({ previous_response_id: id })));
      expect(goOn).toMatchObject({ status: 400, code: 'previous_response_not_found' });
      const item = [{ type: 'item_reference' as const, id: output[0]!.id! }];
      expect(await failureOf(other.responses.create(ask({ input: item })))).toMatchObject({ status: 404 });
    }
    expect((await page.responses.retrieve(id)).output_text).toBe('secret');
  });
});
