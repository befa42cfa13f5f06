import {
  APIError,
  APIUserAbortError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from 'openai';
import { describe, expect, it } from 'vitest';
import { until } from '../../coordinator/src/http/testing/harness.ts';
import { GenerationError } from '../../coordinator/src/scheduler/generation.ts';
import { failure, model, post, says, server, start } from './openai-client.ts';

const TOOL = { type: 'function', function: { name: 'f' } };

describe('errors', () => {
  it('refuses embeddings of a language model, and names the remedy', async () => {
    const client = await start('x');
    const error = await failure(client.embeddings.create({ model, input: 'A' }));
    expect(error.status).toBe(400);
    expect(error.message).toMatch(/is a language model.*\/v1\/chat\/completions.*--model/);
  });

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
      [{ ...base, n: 129 }, 'n'],
      [{ ...base, n: 33 }, 'n'],
      [{ ...base, n: 20, best_of: 40 }, 'best_of'],
      [{ ...base, prompt: ['a', 'b'], n: 17 }, 'n'],
      [{ ...base, stop: Array.from({ length: 33 }, () => 'a') }, 'stop'],
      [{ ...base, stop: 'a'.repeat(257) }, 'stop'],
      [{ ...base, presence_penalty: 2.1 }, 'presence_penalty'],
      [{ ...base, repetition_penalty: 0 }, 'repetition_penalty'],
      [{ ...base, min_p: 1.5 }, 'min_p'],
      [{ ...base, logit_bias: { 5: 101 } }, 'logit_bias'],
      [{ ...base, logit_bias: { x: 1 } }, 'logit_bias'],
      [{ ...base, logit_bias: { 257: 1 } }, 'logit_bias'],
      [{ ...base, n: 2, best_of: 1 }, 'best_of'],
      [{ ...base, best_of: 2, stream: true }, 'best_of'],
      [{ ...base, suffix: 'end' }, 'suffix'],
      [{ ...base, use_beam_search: true }, 'use_beam_search'],
      [{ ...base, guided_json: '{' }, 'guided_json'],
      [{ ...base, guided_regex: 'a', guided_choice: ['a'] }, 'guided_choice'],
      [{ ...base, guided_regex: 'a', ignore_eos: true }, 'ignore_eos'],
      [{ ...base, shoal: { trance: true } }, 'shoal.trance'],
      [{ model }, 'prompt'],
      [{ ...base, prompt: [] }, 'prompt'],
      [{ ...base, prompt: [999] }, 'prompt'],
      [{ ...base, prompt: [[1], [999]] }, 'prompt[1]'],
      [{ ...base, prompt: Array.from({ length: 33 }, () => 'a') }, 'prompt'],
    ];
    for (const [body, param] of refused) {
      const error = await failure(client.completions.create(body as never));
      expect(error, JSON.stringify(body)).toBeInstanceOf(BadRequestError);
      expect(error.param).toBe(param);
      expect(error.type).toBe('invalid_request_error');
    }
    const refusedChats: [object, string][] = [
      [{ messages, tools: [{ type: 'web_search' }] }, 'tools[0].type'],
      [{ messages, tools: [TOOL, TOOL] }, 'tools'],
      [{ messages, tool_choice: 'required' }, 'tool_choice'],
      [{ messages, tools: [TOOL], tool_choice: { type: 'function', function: { name: 'g' } } }, 'tool_choice'],
      [{ messages, response_format: { type: 'json_schema' } }, 'response_format.json_schema.schema'],
      [{ messages, response_format: { type: 'yaml' } }, 'response_format.type'],
      [{ messages, chat_template_kwargs: { messages: [] } }, 'chat_template_kwargs'],
      [{ messages, chat_template: '{{ 1 }}' }, 'chat_template'],
      [{ messages, functions: [{ name: 'f' }] }, 'functions'],
      [{ messages, modalities: ['audio'] }, 'modalities'],
      [{ messages, top_logprobs: 2 }, 'top_logprobs'],
      [{ messages, max_tokens: 3, max_completion_tokens: 4 }, 'max_tokens'],
      [{ messages: [] }, 'messages'],
      [{ messages: [{ role: 'robot', content: 'A' }] }, 'messages[0].role'],
      [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] }, 'messages[0].content'],
    ];
    for (const [body, param] of refusedChats) {
      const error = await failure(client.chat.completions.create({ model, ...body } as never));
      expect(error, JSON.stringify(body)).toBeInstanceOf(BadRequestError);
      expect(error.param).toBe(param);
    }
    expect(server.generation.submitted).toEqual([]);
  });

  it.each([
    ['/v1/completions', {}, 'prompt'],
    ['/v1/chat/completions', {}, 'messages'],
    ['/v1/chat/completions', { messages: [{ content: 'A' }] }, 'messages[0].role'],
    ['/v1/messages', { max_tokens: 1 }, 'messages'],
    ['/v1/messages', { max_tokens: 1, messages: [{ role: 'user' }] }, 'messages[0].content'],
    ['/v1/messages', { messages: [{ role: 'user', content: 'A' }] }, 'max_tokens'],
    ['/detokenize', {}, 'tokens'],
  ])('tells a parameter that is missing from one that is wrong: %s %j', async (path, body, param) => {
    await start('ok');
    const { status, json } = await post(path, body);
    const { code, message } = (json.error as { code?: string; message: string }) ?? {};
    expect([status, message]).toEqual([400, `Missing required parameter: '${param}'.`]);
    if (path !== '/v1/messages') expect(code).toBe('missing_parameter');
  });

  it('says which number makes the answers too many', async () => {
    await start('ok');
    const message = async (body: object) =>
      (await post('/v1/completions', { prompt: 'A', ...body })).json.error!.message;
    expect(await message({ n: 20, best_of: 40 })).toContain('prompts × best_of is 1 × 40 = 40');
    expect(await message({ n: 17, prompt: ['A', 'B'] })).toContain('prompts × n is 2 × 17 = 34');
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
    // What is left is clamped, as other servers do.
    for (const max_tokens of [62, 63, 100_000, -1]) {
      await client.completions.create({ model, prompt: 'a', max_tokens });
      expect(server.generation.submitted.at(-1)?.maxTokens).toBe(62);
    }
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

    // Longer than openai-python waits: it would retry at once.
    server.generation.refusal = new GenerationError('too-late', 'late', 90);
    const late = await ask();
    expect(late).toMatchObject({ status: 429, code: 'queue_too_long' });
    expect([late.headers?.get('retry-after'), late.headers?.get('x-should-retry')]).toEqual(['90', 'false']);

    server.generation.refusal = new GenerationError('draining', 'draining', 30);
    const draining = await ask();
    expect(draining).toBeInstanceOf(InternalServerError);
    expect([draining.status, draining.headers?.get('retry-after')]).toEqual([503, '30']);

    server.generation.refusal = new GenerationError('context-length', 'The KV cache holds 32.');
    const tooLong = await ask();
    expect(tooLong).toBeInstanceOf(BadRequestError);
    expect(tooLong).toMatchObject({ code: 'context_length_exceeded', param: 'prompt' });
    expect(tooLong.message).toContain('The KV cache holds 32.');

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
    // One signal each: the client leaves a listener on its signal until it has the answer.
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
