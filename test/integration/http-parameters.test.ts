import { describe, expect, it } from 'vitest';
import { byteCodec } from '../../coordinator/src/http/testing/byte-codec.ts';
import { model, post, prompts, says, server, start } from './openai-client.ts';

const MESSAGES = [{ role: 'user', content: 'A' }];
/** The codec of these tests has one special token, `<|begin|>`. */
const SPECIAL = 256;

describe('parameters', () => {
  it('takes what programs send that changes nothing', async () => {
    await start('ok');
    const extra = {
      echo: false,
      best_of: 1,
      add_generation_prompt: true,
      add_special_tokens: false,
      prompt_logprobs: null,
      logprobs: null,
      store: true,
      metadata: { a: 'b', list: [1] },
      service_tier: 'flex',
      user: 'u'.repeat(1_000),
      safety_identifier: 'x',
      prompt_cache_key: 'y',
      prediction: { type: 'content', content: 'ok' },
      verbosity: 'low',
      repetition_penalty: 1,
      min_p: 0,
      ignore_eos: false,
      min_tokens: 0,
      stop: ['', ''],
      stop_token_ids: [],
      logit_bias: {},
      presence_penalty: 0,
      frequency_penalty: 0,
      stream_options: { include_usage: true },
      use_beam_search: false,
      length_penalty: 1,
      skip_special_tokens: true,
      spaces_between_special_tokens: true,
      chat_template_kwargs: {},
      documents: [],
      functions: [],
      function_call: 'none',
      tools: [],
      tool_choice: 'none',
      parallel_tool_calls: true,
      response_format: { type: 'text' },
      modalities: ['text'],
      audio: null,
      seed: 2 ** 63,
      n: 1,
      cache_prompt: true,
      priority: 0,
      request_id: 'r',
      include_reasoning: true,
      web_search_options: {},
      thinking: { type: 'disabled' },
    };
    const { status, json, headers } = await post('/v1/chat/completions', { messages: MESSAGES, ...extra });
    expect(json.error).toBeUndefined();
    expect(status).toBe(200);
    expect(json.choices[0]!.message).toEqual({ role: 'assistant', content: 'ok', refusal: null });
    expect(headers.get('x-shoal-ignored-parameters')).toBeNull();
  });

  it('do nothing where they are called ignored', async () => {
    const compile = () => Promise.reject(new Error('nothing is to be compiled'));
    await start('ok', 4096, { grammars: { compile } });
    const unknown = { guided_regex: [5], ignore_eos: true, n_best: 1 };
    const tokens = await post('/tokenize', { messages: MESSAGES, ...unknown });
    expect(tokens.status).toBe(200);
    expect(tokens.headers.get('x-shoal-ignored-parameters')).toBe(Object.keys(unknown).join(', '));
    const { headers } = await post('/tokenize', { messages: MESSAGES, thinking: null, enable_thinking: false });
    expect(headers.get('x-shoal-ignored-parameters')).toBeNull();
    const responses = await post('/v1/responses', { input: 'A', response_format: { type: 'json_object' }, n: 3 });
    expect(responses.headers.get('x-shoal-ignored-parameters')).toBe('response_format, n');
    expect(responses.status).toBe(200);
  });

  it('format a completion as they do a chat', async () => {
    const compiled: object[] = [];
    const constraint = { allowedDrafts: async () => 0, masks: async () => [], accept: () => {}, close: () => {} };
    const compile = async (source: object) => (compiled.push(source), { open: () => constraint });
    await start('{}', 4096, { grammars: { compile } });
    const format = (response_format: object) => post('/v1/completions', { prompt: 'A', response_format });
    const { status, headers } = await format({ type: 'json_object' });
    expect([status, headers.get('x-shoal-ignored-parameters'), compiled]).toEqual([
      200,
      null,
      [{ kind: 'json-object' }],
    ]);
    expect((await format({ type: 'yaml' })).json.error).toMatchObject({ param: 'response_format.type' });
  });

  it('are refused by strictness at every endpoint, also where nothing is generated', async () => {
    const tools = [
      { type: 'custom', name: 'f', input_schema: {} },
      { type: 'web_search_20250305', name: 's' },
    ];
    const functions = [{ type: 'function', name: 'f' }, { type: 'web_search' }];
    const chat = [{ type: 'function', function: { name: 'f' } }, { type: 'custom' }];
    const requests: [string, object][] = [
      ['/v1/messages/count_tokens', { messages: MESSAGES, tools }],
      ['/v1/responses/input_tokens', { input: 'A', tools: functions }],
      ['/tokenize', { messages: MESSAGES, tools: chat }],
    ];
    await start('ok');
    for (const [path, body] of requests) {
      const { status, headers } = await post(path, body);
      expect([status, headers.get('x-shoal-ignored-parameters')], path).toEqual([200, 'tools[1]']);
    }
    await server.app.close();
    await start('ok', 4096, { strictParameters: true });
    for (const [path, body] of requests) expect((await post(path, body)).status, path).toBe(400);
  });

  it('ignores unknown parameters and says so, or refuses them where the operator asks for that', async () => {
    await start('ok');
    const body = { prompt: 'A', top_n: 4, 'näme\r\nx': 1 };
    const loose = await post('/v1/completions', body);
    expect(loose.status).toBe(200);
    expect(loose.headers.get('x-shoal-ignored-parameters')).toBe('top_n, n?me??x');
    expect(server.logged.join('')).toContain('ignored parameters');
    await server.app.close();
    await start('ok', 4096, { strictParameters: true });
    const strict = await post('/v1/completions', body);
    expect(strict.json.error).toMatchObject({ code: 'unknown_parameter', param: 'top_n' });
  });

  it('takes the model by its aliases, or without a name', async () => {
    await start('ok', 4096, { aliases: ['gpt-4o-mini'] });
    for (const body of [{ model: 'gpt-4o-mini' }, {}, { model: null }, { model }]) {
      expect(await post('/v1/completions', { prompt: 'A', ...body })).toMatchObject({ status: 200, json: { model } });
    }
    const listed = await (await fetch(`${server.url}/v1/models`)).json();
    expect(listed).toMatchObject({
      data: [
        { id: model, root: model, max_model_len: 4096 },
        { id: 'gpt-4o-mini', root: model },
      ],
    });
  });

  it('hands the scheduler what says how tokens are drawn, with the model’s own defaults', async () => {
    const defaults = { temperature: 0.7, topP: 0.8, topK: 20, minP: 0.1, repetitionPenalty: 1.05 };
    await start('ok', 4096, { defaults });
    const own = { topK: 3, minP: 0.2, repetitionPenalty: 1.5 };
    const sent = { top_k: 3, min_p: 0.2, repetition_penalty: 1.5 };
    for (const [path, body] of [
      ['/v1/completions', { prompt: 'A' }],
      ['/v1/chat/completions', { messages: MESSAGES }],
      ['/v1/responses', { input: 'A' }],
      ['/v1/messages', { messages: MESSAGES, max_tokens: 4 }],
    ] as const) {
      await post(path, body);
      expect(server.generation.submitted.at(-1), path).toMatchObject(defaults);
      await post(path, { ...body, ...sent });
      expect(server.generation.submitted.at(-1), path).toMatchObject(own);
    }
    await post('/v1/completions', {
      prompt: 'A',
      top_k: 0,
      min_p: 0.2,
      presence_penalty: 1,
      frequency_penalty: -1,
      repeat_penalty: 1.5,
      logit_bias: { 65: 5, 66: -100 },
      ignore_eos: true,
      min_tokens: 3,
      stop_token_ids: [7],
    });
    expect(server.generation.submitted.at(-1)).toMatchObject({
      topK: 0,
      minP: 0.2,
      presencePenalty: 1,
      frequencyPenalty: -1,
      repetitionPenalty: 1.5,
      logitBias: new Map([
        [65, 5],
        [66, -Infinity],
      ]),
      ignoreEos: true,
      minTokens: 3,
      stopTokenIds: [7],
    });
    await post('/v1/completions', { prompt: 'A', logit_bias: [[65, false]] });
    expect(server.generation.submitted.at(-1)?.logitBias).toEqual(new Map([[65, -Infinity]]));
  });

  it('keeps the end of a prompt that is to be truncated', async () => {
    await start('ok', 16);
    for (const [keep, kept] of [
      [3, 'xyz'],
      [-1, 'lmnopqrstuvwxyz'],
    ] as const) {
      const body = { prompt: 'abcdefghijklmnopqrstuvwxyz', truncate_prompt_tokens: keep };
      expect((await post('/v1/completions', body)).status).toBe(200);
      expect(Buffer.from(server.generation.submitted.at(-1)!.promptIds).toString()).toBe(kept);
    }
  });
});

describe('a suffix', () => {
  it('makes a text with a gap of the model’s own markers, or is refused where it has none', async () => {
    const fim = { prefix: '<PRE>', suffix: '<SUF>', middle: '<MID>' };
    await start('ok', 4096, { codec: { ...byteCodec(), fim } });
    await post('/v1/completions', { prompt: 'def f(', suffix: ') -> int:' });
    expect(prompts()).toEqual(['<PRE>def f(<SUF>) -> int:<MID>']);
    const ids = await post('/v1/completions', { prompt: [65], suffix: 'x' });
    expect(ids.json.error).toMatchObject({ param: 'suffix' });
    await server.app.close();
    await start('ok');
    expect((await post('/v1/completions', { prompt: 'A', suffix: 'x' })).json.error).toMatchObject({ param: 'suffix' });
    expect((await post('/v1/completions', { prompt: 'A', suffix: '' })).status).toBe(200);
  });
});

describe('the end of an answer', () => {
  it('comes with a stop string that is a special token’s text', async () => {
    await start(() => ({ ids: [...says('one'), SPECIAL, ...says('two')] }));
    const ask = async (more: object) => (await post('/v1/completions', { prompt: 'A', ...more })).json.choices[0];
    expect(await ask({})).toMatchObject({ text: 'onetwo', finish_reason: 'stop' });
    expect(await ask({ stop: '<|begin|>' })).toMatchObject({
      text: 'one',
      finish_reason: 'stop',
      stop_reason: '<|begin|>',
    });
    expect(await ask({ stop: 'e<|begin|>t' })).toMatchObject({ text: 'on' });
    expect(await ask({ skip_special_tokens: false })).toMatchObject({ text: 'one<|begin|>two' });
    expect(await ask({ stop: ['tw'], include_stop_str_in_output: true })).toMatchObject({ text: 'onetw' });
  });

  it('looks for stop strings only after min_tokens', async () => {
    await start('a.b.c.d');
    const { json } = await post('/v1/completions', { prompt: 'A', stop: '.', min_tokens: 3 });
    expect(json.choices[0]).toMatchObject({ text: 'a.b', finish_reason: 'stop', stop_reason: '.' });
  });

  it('tells which of the client’s tokens it was', async () => {
    await start(() => ({ ids: says('x'), stopTokenId: 7 }));
    const named = await post('/v1/completions', { prompt: 'A', stop_token_ids: [7] });
    expect(named.json.choices[0]).toMatchObject({ text: 'x', finish_reason: 'stop', stop_reason: 7 });
    // The model's own end of text is no news.
    const own = await post('/v1/completions', { prompt: 'A' });
    expect(own.json.choices[0]).not.toHaveProperty('stop_reason');
  });
});

describe('log-probabilities', () => {
  it('choose the best of several answers', async () => {
    let made = 0;
    await start(() => ({ ids: says(`${made}`), logprob: [-3, -1, -2, -1.5][made++ % 4]! }));
    const { json } = await post('/v1/completions', { prompt: 'A', n: 2, best_of: 4, max_tokens: 4 });
    expect(json.choices.map(({ text, index, logprobs }) => [index, text, logprobs])).toEqual([
      [0, '1', null],
      [1, '3', null],
    ]);
    expect(json.usage.completion_tokens).toBe(4);
  });

  it('choose the best answer by itself, also where it repeats the prompt', async () => {
    // Tokens of the prompt are likelier than those of any answer, so that a short answer would seem better.
    let made = 0;
    await start(() => (made++ === 0 ? { ids: says('a'), logprob: -3 } : { ids: says('bbbb'), logprob: -2 }));
    const body = { prompt: 'ABC', best_of: 2, max_tokens: 8, echo: true };
    expect((await post('/v1/completions', body)).json.choices[0]!.text).toBe('ABCbbbb');
  });

  it('of the prompt are refused in a stream, which has no place for them', async () => {
    await start('x');
    const bodies = { '/v1/completions': { prompt: 'AB' }, '/v1/chat/completions': { messages: MESSAGES } };
    for (const [path, body] of Object.entries(bodies)) {
      const { json } = await post(path, { ...body, prompt_logprobs: 1, stream: true });
      expect(json.error).toMatchObject({ param: 'prompt_logprobs' });
    }
    expect(server.generation.submitted).toEqual([]);
  });

  it('of the prompt are told by token', async () => {
    await start('x');
    const { json } = await post('/v1/completions', { prompt: 'AB', prompt_logprobs: 1 });
    const [first, ...others] = json.choices[0]!.prompt_logprobs!;
    expect(first).toBeNull();
    expect(others[1]).toMatchObject({ 66: { decoded_token: 'B' } });
    expect(json.choices[0]).toMatchObject({ text: 'x', logprobs: null });
    expect((await post('/v1/completions', { prompt: 'AB' })).json.choices[0]).not.toHaveProperty('prompt_logprobs');
  });

  it('are given where a boolean asks for them', async () => {
    await start('x');
    const { json } = await post('/v1/completions', { prompt: 'A', logprobs: true });
    expect(json.choices[0]!.logprobs).toMatchObject({ tokens: ['x'], top_logprobs: [{ x: -0.5 }] });
  });
});

describe('usage', () => {
  it('is in every chunk where that is asked', async () => {
    const client = await start('abc');
    const stream = await client.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'A' }],
      stream: true,
      stream_options: { include_usage: true, continuous_usage_stats: true } as object,
    });
    const counts: (number | undefined)[] = [];
    for await (const chunk of stream) counts.push(chunk.usage?.completion_tokens);
    expect(counts).toEqual([0, 1, 2, 3, 3, 3]);
  });
});
