import { NotFoundError } from 'openai';
import { describe, expect, it } from 'vitest';
import { model, prompts, says, server, start } from './openai-client.ts';

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
