import OpenAI, {
  APIError,
  APIUserAbortError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { GenerationError, type GenerationRequest } from '../../coordinator/src/scheduler/generation.ts';
import type { FakeScript } from '../../coordinator/src/http/testing/fake-generation.ts';
import { startServer, until, type TestServer } from '../../coordinator/src/http/testing/harness.ts';

const model = 'fake-model';
const says = (text: string) => [...Buffer.from(text)];

let server: TestServer;
afterEach(() => server.app.close());

async function start(script: string | ((request: GenerationRequest) => FakeScript), maxContext = 4096) {
  const follow = typeof script === 'string' ? () => ({ ids: says(script) }) : script;
  server = await startServer({ script: follow, maxContext });
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'any', maxRetries: 0 });
}

/** The values by which a request differs from others in the engine. */
function prompts() {
  return server.generation.submitted.map((request) => Buffer.from(request.promptIds.slice(1)).toString());
}

describe('models', () => {
  it('lists and shows the model', async () => {
    const client = await start('');
    expect((await client.models.list()).data.map((entry) => entry.id)).toEqual([model]);
    expect(await client.models.retrieve(model)).toMatchObject({ id: model, object: 'model' });
    await expect(client.models.retrieve('other/model')).rejects.toBeInstanceOf(NotFoundError);
  });
});

describe('completions', () => {
  it('answers a text, with usage', async () => {
    const client = await start(' there was a fox.');
    const answer = await client.completions.create({ model, prompt: 'Once', max_tokens: 100, seed: 7 });
    expect(answer).toMatchObject({
      object: 'text_completion',
      model,
      choices: [{ index: 0, text: ' there was a fox.', finish_reason: 'stop', logprobs: null }],
      usage: { prompt_tokens: 5, completion_tokens: 17, total_tokens: 22 },
    });
    expect(answer.id).toMatch(/^cmpl-/);
    expect(answer.system_fingerprint).toMatch(/^fp_/);
    expect(server.generation.submitted[0]).toMatchObject({ seed: 7, temperature: 0.7, topP: 0.9, maxTokens: 100 });
    expect(server.generation.live).toBe(0);
  });

  it('takes top_k as other servers have it', async () => {
    const client = await start('x');
    for (const top_k of [40, 0, -1, null]) {
      const asked = { model, prompt: 'A', top_k };
      await client.completions.create(asked);
      const chat = { model, messages: [{ role: 'user' as const, content: 'A' }], top_k };
      await client.chat.completions.create(chat);
    }
    expect(server.generation.submitted.map(({ topK }) => topK)).toEqual([40, 40, 0, 0, 0, 0, 0, 0]);
  });

  it('tells what drafts did for all choices together, and leaves them out where that is asked', async () => {
    const speculation = { drafted: 7, accepted: 5, passes: 3, laps: 12 };
    const client = await start((request) => ({
      ids: [65, 66, 67, 68, 69, 70, 71, 72],
      ...(request.speculate !== false && { speculation }),
    }));
    const asked = { model, prompt: 'x', max_tokens: 8, n: 2 };
    expect((await client.completions.create(asked)).usage).toEqual({
      prompt_tokens: 2,
      completion_tokens: 16,
      total_tokens: 18,
      completion_tokens_details: { accepted_prediction_tokens: 10, rejected_prediction_tokens: 4 },
      shoal: { drafted: 14, passes: 6, laps_per_token: 1.5 },
    });
    const without = { ...asked, shoal: { speculate: false } };
    expect((await client.completions.create(without)).usage).toEqual({
      prompt_tokens: 2,
      completion_tokens: 16,
      total_tokens: 18,
    });
    expect(server.generation.submitted.map(({ speculate }) => speculate)).toEqual([undefined, undefined, false, false]);
  });

  it('writes 16 tokens unless told otherwise', async () => {
    const client = await start('abcdefghijklmnopqrstuvwxyz');
    const answer = await client.completions.create({ model, prompt: '' });
    expect(answer.choices[0]).toMatchObject({ text: 'abcdefghijklmnop', finish_reason: 'length' });
  });

  it('takes batches of texts and of token ids', async () => {
    const client = await start((request) => ({ ids: [...request.promptIds.slice(-1), 33] }));
    const texts = await client.completions.create({ model, prompt: ['x', 'y'], n: 2 });
    expect(texts.choices.map((choice) => [choice.index, choice.text])).toEqual([
      [0, 'x!'],
      [1, 'x!'],
      [2, 'y!'],
      [3, 'y!'],
    ]);
    expect(texts.usage).toEqual({ prompt_tokens: 4, completion_tokens: 8, total_tokens: 12 });
    const ids = await client.completions.create({ model, prompt: [[65], [66, 67]] });
    expect(ids.choices.map((choice) => choice.text)).toEqual(['A!', 'C!']);
    expect((await client.completions.create({ model, prompt: [65, 66] })).choices[0]?.text).toBe('B!');
  });

  it('gives each choice its own seed, the first the one asked for, the same in every batch', async () => {
    const client = await start('a');
    await client.completions.create({ model, prompt: ['x', 'y'], n: 3, seed: 11 });
    const seeds = server.generation.submitted.map((request) => request.seed);
    expect(seeds[0]).toBe(11);
    expect(new Set(seeds.slice(0, 3)).size).toBe(3);
    expect(seeds.slice(3)).toEqual(seeds.slice(0, 3));
  });

  it('streams text, then a finish chunk, then usage', async () => {
    const client = await start('fox');
    const chunks = [];
    const stream = await client.completions.create({
      model,
      prompt: 'A',
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks.map((chunk) => chunk.choices[0]?.text)).toEqual(['f', 'o', 'x', '', undefined]);
    expect(chunks.map((chunk) => chunk.choices[0]?.finish_reason ?? null)).toEqual([null, null, null, 'stop', null]);
    expect(chunks.map((chunk) => chunk.usage ?? null)).toEqual([
      null,
      null,
      null,
      null,
      { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 },
    ]);
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1);
  });

  it('stops at a stop string that spans tokens, and frees the generation', async () => {
    const client = await start('one END two');
    const answer = await client.completions.create({ model, prompt: 'A', max_tokens: 50, stop: ['END', 'never'] });
    expect(answer.choices[0]).toMatchObject({ text: 'one ', finish_reason: 'stop' });
    expect(answer.usage?.completion_tokens).toBe(7);
    expect(server.generation.live).toBe(0);
    const streamed = await client.completions.create({ model, prompt: 'A', stop: 'END', stream: true });
    let text = '';
    for await (const chunk of streamed) text += chunk.choices[0]?.text ?? '';
    expect(text).toBe('one ');
  });

  it('reports logprobs of the answer, without the tokens of a stop string', async () => {
    const client = await start('hé END');
    const answer = await client.completions.create({ model, prompt: 'A', logprobs: 2, stop: 'END' });
    expect(answer.choices[0]?.logprobs).toEqual({
      tokens: ['h', 'bytes:\\xc3', 'bytes:\\xa9', ' '],
      token_logprobs: [-0.5, -1.5, -2.5, -3.5],
      top_logprobs: [
        { h: -0.5, i: -1.5 },
        { 'bytes:\\xc3': -1.5, 'bytes:\\xc4': -1.5 },
        { 'bytes:\\xa9': -2.5, 'bytes:\\xaa': -1.5 },
        { ' ': -3.5, '!': -1.5 },
      ],
      text_offset: [0, 1, 1, 2],
    });
  });

  it('scores a prompt: echo, logprobs and no new token', async () => {
    const client = await start('never seen');
    const answer = await client.completions.create({ model, prompt: 'ab', echo: true, logprobs: 1, max_tokens: 0 });
    expect(answer.choices[0]).toMatchObject({ text: 'ab', finish_reason: 'length' });
    expect(answer.choices[0]?.logprobs).toEqual({
      tokens: ['<|begin|>', 'a', 'b'],
      token_logprobs: [null, -0.01, -0.02],
      top_logprobs: [null, { a: -0.01 }, { b: -0.02 }],
      text_offset: [0, 0, 1],
    });
    expect(answer.usage).toEqual({ prompt_tokens: 3, completion_tokens: 0, total_tokens: 3 });
  });

  it('echoes without asking the engine for logprobs, and may then stop in the answer only', async () => {
    const client = await start('ing END');
    const answer = await client.completions.create({ model, prompt: 'END s', echo: true, stop: 'END' });
    expect(answer.choices[0]?.text).toBe('END sing ');
    expect(server.generation.submitted[0]?.promptLogprobs).toBe(false);
  });

  it('traces tokens on request', async () => {
    const client = await start('ab');
    const body = { model, prompt: 'A', shoal: { trace: true } };
    const answer = await client.completions.create(body);
    const laps = [{ layer: 1, lapMs: 2.5, experts: [{ expert: 0, weight: 1, peerId: null }] }];
    expect(answer.choices[0]).toMatchObject({
      shoal: {
        tokens: [
          { id: 97, text: 'a', laps },
          { id: 98, text: 'b' },
        ],
      },
    });
    const chunks = [];
    for await (const chunk of await client.completions.create({ ...body, stream: true })) chunks.push(chunk.choices[0]);
    expect(chunks.slice(0, 2)).toMatchObject([
      { shoal: { tokens: [{ id: 97 }] } },
      { shoal: { tokens: [{ id: 98 }] } },
    ]);
    const plain = await client.completions.create({ model, prompt: 'A' });
    expect(plain.choices[0]).not.toHaveProperty('shoal');
  });

  it('never splits a character over chunks', async () => {
    const text = 'a🦊é한🏴‍☠️z';
    const client = await start(text);
    const pieces: string[] = [];
    const stream = await client.completions.create({ model, prompt: 'A', max_tokens: 99, stream: true });
    for await (const chunk of stream) pieces.push(chunk.choices[0]?.text ?? '');
    expect(pieces.join('')).toBe(text);
    for (const piece of pieces) expect(piece).not.toMatch(/\ufffd|\p{Surrogate}/u);
    expect(pieces).toContain('🦊');
  });
});

describe('chat', () => {
  const messages = [
    { role: 'developer' as const, content: 'Be brief.' },
    {
      role: 'user' as const,
      content: [
        { type: 'text' as const, text: 'Hi ' },
        { type: 'text' as const, text: 'you' },
      ],
    },
  ];

  it('answers through the template, to the end of the context by default', async () => {
    const client = await start('Hello!', 100);
    const answer = await client.chat.completions.create({ model, messages });
    expect(answer).toMatchObject({
      object: 'chat.completion',
      choices: [{ index: 0, message: { role: 'assistant', content: 'Hello!' }, finish_reason: 'stop', logprobs: null }],
      usage: { prompt_tokens: 32, completion_tokens: 6, total_tokens: 38 },
    });
    expect(answer.id).toMatch(/^chatcmpl-/);
    expect(prompts()).toEqual(['system: Be brief.\nuser: Hi you\n']);
    expect(server.generation.submitted[0]?.maxTokens).toBe(100 - 32);
  });

  it('streams a role chunk, content, a finish chunk and usage', async () => {
    const client = await start('Hi');
    const stream = await client.chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    const seen = [];
    for await (const { choices, usage } of stream) seen.push([choices[0]?.delta, choices[0]?.finish_reason, usage]);
    expect(seen).toEqual([
      [{ role: 'assistant', content: '' }, null, null],
      [{ content: 'H' }, null, null],
      [{ content: 'i' }, null, null],
      [{}, 'stop', null],
      [undefined, undefined, { prompt_tokens: 32, completion_tokens: 2, total_tokens: 34 }],
    ]);
  });

  it('works with the client’s own stream helper, several choices at once', async () => {
    const client = await start((request) => ({ ids: says(`seed ${request.seed}`), tokenDelayMs: 1 }));
    const final = await client.chat.completions.stream({ model, messages, n: 3, seed: 5 }).finalChatCompletion();
    const texts = final.choices.map((choice) => choice.message.content);
    expect(texts[0]).toBe('seed 5');
    expect(texts).toEqual(server.generation.submitted.map((request) => `seed ${request.seed}`));
  });

  it('reports logprobs with bytes', async () => {
    const client = await start('é');
    const ask = { model, messages, max_completion_tokens: 2, logprobs: true, top_logprobs: 1 };
    const answer = await client.chat.completions.create(ask);
    expect(answer.choices[0]?.logprobs?.content).toEqual([
      {
        token: 'bytes:\\xc3',
        logprob: -0.5,
        bytes: [0xc3],
        top_logprobs: [{ token: 'bytes:\\xc3', logprob: -0.5, bytes: [0xc3] }],
      },
      {
        token: 'bytes:\\xa9',
        logprob: -1.5,
        bytes: [0xa9],
        top_logprobs: [{ token: 'bytes:\\xa9', logprob: -0.5, bytes: [0xa9] }],
      },
    ]);
    const content = [];
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
      content.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    }
    expect(content).toEqual(answer.choices[0]?.logprobs?.content);
  });
});

describe('errors', () => {
  it('names the parameter of a wrong or unsupported value', async () => {
    const client = await start('x', 64);
    const base = { model, prompt: 'A' };
    const messages = [{ role: 'user', content: 'A' }];
    const refused: [object, string][] = [
      [{ ...base, temperature: 'hot' }, 'temperature'],
      [{ ...base, temperature: 3 }, 'temperature'],
      [{ ...base, top_k: 1.5 }, 'top_k'],
      [{ ...base, top_k: -2 }, 'top_k'],
      [{ ...base, max_tokens: 1.5 }, 'max_tokens'],
      [{ ...base, n: 9 }, 'n'],
      [{ ...base, stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'],
      [{ ...base, stop: '' }, 'stop'],
      [{ ...base, presence_penalty: 0.1 }, 'presence_penalty'],
      [{ ...base, logit_bias: { 5: 1 } }, 'logit_bias'],
      [{ ...base, best_of: 3 }, 'best_of'],
      [{ ...base, suffix: 'end' }, 'suffix'],
      [{ ...base, top_n: 4 }, 'top_n'],
      [{ ...base, stream_options: { include_usage: true } }, 'stream_options'],
      [{ ...base, shoal: { trance: true } }, 'shoal.trance'],
      [{ model }, 'prompt'],
      [{ ...base, prompt: [] }, 'prompt'],
      [{ ...base, prompt: [999] }, 'prompt'],
      [{ ...base, prompt: [[1], [999]] }, 'prompt[1]'],
      [{ ...base, prompt: Array.from({ length: 33 }, () => 'a') }, 'prompt'],
      [{ prompt: 'A' }, 'model'],
    ];
    for (const [body, param] of refused) {
      const error = await failure(client.completions.create(body as never));
      expect(error, JSON.stringify(body)).toBeInstanceOf(BadRequestError);
      expect(error.param).toBe(param);
      expect(error.type).toBe('invalid_request_error');
    }
    const refusedChats: [object, string][] = [
      [{ messages, tools: [{ type: 'function', function: { name: 'f' } }] }, 'tools'],
      [{ messages, response_format: { type: 'json_object' } }, 'response_format'],
      [{ messages, top_logprobs: 2 }, 'top_logprobs'],
      [{ messages, max_tokens: 3, max_completion_tokens: 4 }, 'max_tokens'],
      [{ messages: [] }, 'messages'],
      [{ messages: [{ role: 'tool', content: 'A' }] }, 'messages[0].role'],
      [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] }, 'messages[0].content'],
    ];
    for (const [body, param] of refusedChats) {
      const error = await failure(client.chat.completions.create({ model, ...body } as never));
      expect(error, JSON.stringify(body)).toBeInstanceOf(BadRequestError);
      expect(error.param).toBe(param);
    }
    expect(server.generation.submitted).toEqual([]);
  });

  it('accepts neutral values of what it does not implement', async () => {
    const client = await start('ok');
    const answer = await client.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'A' }],
      presence_penalty: 0,
      frequency_penalty: 0,
      logit_bias: {},
      tools: [],
      tool_choice: 'none',
      response_format: { type: 'text' },
      user: 'someone',
      store: false,
      top_p: null,
      stop: null,
    });
    expect(answer.choices[0]?.message.content).toBe('ok');
  });

  it('refuses what does not fit the context, before any tokenizing where that is certain', async () => {
    const client = await start('x', 64);
    for (const prompt of ['a'.repeat(64), 'a'.repeat(100_000)]) {
      const error = await failure(client.completions.create({ model, prompt }));
      expect(error).toBeInstanceOf(BadRequestError);
      expect(error).toMatchObject({ code: 'context_length_exceeded', param: 'prompt' });
    }
    const error = await failure(client.completions.create({ model, prompt: 'a', max_tokens: 63 }));
    expect(error.code).toBe('context_length_exceeded');
    expect((await client.completions.create({ model, prompt: 'a', max_tokens: 62 })).choices[0]?.text).toBe('x');
  });

  it('maps the engine’s refusals to the client’s error classes', async () => {
    const client = await start('x');
    const ask = () => failure(client.completions.create({ model, prompt: 'A' }));
    const unknown = await failure(client.completions.create({ model: 'gpt-9', prompt: 'A' }));
    expect(unknown).toBeInstanceOf(NotFoundError);
    expect(unknown).toMatchObject({ code: 'model_not_found', param: 'model' });

    server.generation.refusal = new GenerationError('queue-full', 'full', 2.4);
    const full = await ask();
    expect(full).toBeInstanceOf(RateLimitError);
    expect(full).toMatchObject({ status: 429, code: 'queue_full', type: 'rate_limit_error', param: null });
    expect([full.headers?.get('retry-after'), full.headers?.get('retry-after-ms')]).toEqual(['3', '2400']);
    expect(full.headers?.get('x-should-retry')).toBeNull();

    server.generation.refusal = new GenerationError('share-full', 'full', 0.001);
    const share = await ask();
    expect(share).toMatchObject({ status: 429, code: 'queue_share_full' });
    expect([share.headers?.get('retry-after'), share.headers?.get('retry-after-ms')]).toEqual(['1', '100']);

    // Longer than openai-python waits: it would come back at once.
    server.generation.refusal = new GenerationError('too-late', 'late', 90);
    const late = await ask();
    expect(late).toMatchObject({ status: 429, code: 'queue_too_long' });
    expect([late.headers?.get('retry-after'), late.headers?.get('x-should-retry')]).toEqual(['90', 'false']);

    server.generation.refusal = new GenerationError('draining', 'draining', 30);
    const draining = await ask();
    expect(draining).toBeInstanceOf(InternalServerError);
    expect([draining.status, draining.headers?.get('retry-after')]).toEqual([503, '30']);

    server.generation.refusal = new GenerationError('timeout', 'late');
    expect((await ask()).status).toBe(504);
  });

  it('says nothing of the inside when the engine fails, and logs no prompt', async () => {
    const secret = 'the-secret-prompt';
    const client = await start((request) => ({
      ids: [65],
      failAt: { index: 0, error: new Error(`cannot ${Buffer.from(request.promptIds.slice(1)).toString()}`) },
    }));
    const error = await failure(client.completions.create({ model, prompt: secret }));
    expect(error).toBeInstanceOf(InternalServerError);
    expect(error.message).not.toContain(secret);
    await fetch(`${server.url}/v1/completions?prompt=${secret}`);
    await fetch(`${server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `{"prompt": "${secret}" oops`,
    });
    expect(server.logged.some((line) => line.includes('request failed'))).toBe(true);
    expect(server.logged.join('')).not.toContain(secret);
  });

  it('ends a stream that fails with an error event and without [DONE]', async () => {
    const client = await start(() => ({
      ids: says('abc'),
      failAt: { index: 2, error: new GenerationError('internal', 'x') },
    }));
    const texts: string[] = [];
    const error = await failure(
      (async () => {
        const stream = await client.completions.create({ model, prompt: 'A', stream: true });
        for await (const chunk of stream) texts.push(chunk.choices[0]?.text ?? '');
      })(),
    );
    expect(error).toBeInstanceOf(APIError);
    expect(error.code).toBe('internal_error');
    expect(texts.join('')).toBe('ab');
    const raw = await fetch(`${server.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, prompt: 'A', stream: true }),
    });
    const body = await raw.text();
    expect(body).toContain('data: {"error":');
    expect(body).not.toContain('[DONE]');
  });
});

describe('hang-ups', () => {
  const endless = () => ({ ids: Array.from({ length: 4000 }, () => 97), tokenDelayMs: 5 });
  const ask = { model, prompt: 'A', max_tokens: 3000 };

  it('cancels a stream whose client breaks off', async () => {
    const client = await start(endless);
    const stream = await client.completions.create({ ...ask, n: 3, stream: true });
    for await (const _ of stream) break;
    await until(() => server.generation.live === 0);
    expect(server.generation.cancelled).toBe(3);
    await until(() => server.logged.some((line) => line.includes('answered')));
    expect(await server.registry.metrics()).toContain('shoal_http_hangups_total 1');
  });

  it('cancels a document whose client breaks off, while running and while queued', async () => {
    const client = await start(endless);
    const aborts = Array.from({ length: 80 }, () => new AbortController());
    const answers = aborts.map((abort) => failure(client.completions.create(ask, { signal: abort.signal })));
    await until(() => server.generation.live === 80);
    for (const abort of aborts) abort.abort();
    for (const error of await Promise.all(answers)) expect(error).toBeInstanceOf(APIUserAbortError);
    await until(() => server.generation.live === 0);
    expect(server.generation.cancelled).toBe(80);
  });

  it('takes back the choices already submitted when a later one is refused', async () => {
    const client = await start(endless);
    // Each its own: the client leaves a listener on the signal that it is given until the answer is there.
    const fill = Array.from({ length: 39 }, () => new AbortController());
    const running = fill.map(({ signal }) => failure(client.completions.create({ ...ask, n: 8 }, { signal })));
    await until(() => server.generation.live === 312);
    const refused = await failure(client.completions.create({ ...ask, prompt: ['a', 'b'], n: 8 }));
    expect(refused).toBeInstanceOf(RateLimitError);
    expect(server.generation.live).toBe(312);
    for (const abort of fill) abort.abort();
    await Promise.all(running);
    await until(() => server.generation.live === 0);
  });
});

async function failure(promise: Promise<unknown>): Promise<APIError> {
  const outcome = await promise.then(
    () => new Error('the request was answered'),
    (error: unknown) => error,
  );
  if (!(outcome instanceof APIError)) throw outcome;
  return outcome;
}
