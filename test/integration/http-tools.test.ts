import { describe, expect, it } from 'vitest';
import { chooseConvention } from '../../coordinator/src/conventions/index.ts';
import { type Grammar, GrammarError, Grammars, type GrammarSource } from '../../coordinator/src/grammar/index.ts';
import { byteVocabulary, idsOf } from '../../coordinator/src/grammar/testing/byte-vocabulary.ts';
import { byteCodec } from '../../coordinator/src/http/testing/byte-codec.ts';
import type { EncodeTask } from '../../coordinator/src/text/encode-task.ts';
import { failure, model, post, says, server, start } from './openai-client.ts';

const convention = chooseConvention({ template: '<tool_call> <think> </think>' });
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const tool = (name: string) => ({ type: 'function' as const, function: { name, description: 'd', parameters } });
const tools = [tool('weather'), tool('time')];
const messages = [{ role: 'user' as const, content: 'Weather in Oslo?' }];
const CALLS =
  'Let me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n' +
  '<tool_call>\n{"name": "time", "arguments": {"city": "Öland"}}\n</tool_call>';
const functions = [
  { name: 'weather', arguments: '{"city": "Oslo"}' },
  { name: 'time', arguments: '{"city": "Öland"}' },
];

/** What was asked to be rendered, and what was compiled. */
const rendered: EncodeTask[] = [];
const compiled: GrammarSource[] = [];

/** What is compiled for a model that may reason first. */
const afterReasoning = (source: GrammarSource): GrammarSource => ({
  kind: 'after',
  parts: convention.optionalReasoning(''),
  source,
});

const begin = (text: string, refuse?: GrammarError, at: 'compile' | 'open' = 'compile') => {
  rendered.length = 0;
  compiled.length = 0;
  const codec = byteCodec();
  const constraint = { allowedDrafts: async () => 0, masks: async () => [], accept: () => {}, close: () => {} };
  return start(() => ({ ids: says(text) }), 4096, {
    convention,
    codec: { ...codec, encode: (task, client) => (rendered.push(task), codec.encode(task, client)) },
    grammars: {
      compile: async (source) => {
        compiled.push(source);
        if (refuse && at === 'compile') throw refuse;
        const open = () => {
          if (refuse) throw refuse;
          return constraint;
        };
        return { open } as unknown as Grammar;
      },
    },
  });
};

describe('tool calls', () => {
  it('are told apart from the text, whole and streamed', async () => {
    const client = await begin(CALLS);
    const asked = { model, messages, tools };
    const whole = await client.chat.completions.create(asked);
    const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
    for (const { choices } of [whole, streamed]) {
      expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { role: 'assistant' } });
      expect(choices[0]!.message.content?.trim()).toBe('Let me see.');
      const calls = choices[0]!.message.tool_calls!;
      expect(calls.map((call) => call.type === 'function' && call.function)).toMatchObject(functions);
      expect(new Set(calls.map(({ id }) => id)).size).toBe(2);
    }
  });

  it('come in pieces with index, id and growing arguments', async () => {
    const client = await begin(CALLS);
    const stream = await client.chat.completions.create({ model, messages, tools, stream: true });
    const pieces = [];
    let reason: string | null = null;
    for await (const { choices } of stream) {
      pieces.push(...(choices[0]?.delta.tool_calls ?? []));
      reason = choices[0]?.finish_reason ?? reason;
    }
    expect(reason).toBe('tool_calls');
    for (const index of [0, 1]) {
      const [first, ...others] = pieces.filter((piece) => piece.index === index);
      expect(first).toMatchObject({ id: expect.stringMatching(/^call_/), type: 'function' });
      expect(first!.function!.name).toBe(functions[index]!.name);
      expect(others.length).toBeGreaterThan(1);
      expect(others.every((piece) => piece.id === undefined && piece.function?.name === undefined)).toBe(true);
      const text = [first!, ...others].map((piece) => piece.function?.arguments).join('');
      expect(JSON.parse(text)).toEqual(JSON.parse(functions[index]!.arguments));
    }
  });

  it('are at most one where parallel calls are not wanted, and none where no tools are offered', async () => {
    const client = await begin(CALLS);
    const one = await client.chat.completions.create({ model, messages, tools, parallel_tool_calls: false });
    expect(one.choices[0]!.message.tool_calls).toHaveLength(1);
    for (const more of [{ tools, tool_choice: 'none' as const }, {}]) {
      const { choices } = await client.chat.completions.create({ model, messages, ...more });
      expect(choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: CALLS } });
      expect(rendered.at(-1)).toMatchObject({ tools: [] });
    }
    expect(compiled).toEqual([]);
  });

  it('are cut off with the answer', async () => {
    const client = await begin(CALLS);
    const { choices } = await client.chat.completions.create({ model, messages, tools, max_tokens: 64 });
    expect(choices[0]).toMatchObject({ finish_reason: 'length' });
    const [call] = choices[0]!.message.tool_calls!;
    expect(functions[0]!.arguments.startsWith(call!.type === 'function' ? call!.function.arguments : 'x')).toBe(true);
  });

  it('are not for running where a stop string ended the answer inside one', async () => {
    const client = await begin(CALLS);
    const ask = (stop: string) => ({ model, messages, tools, stop });
    for (const [stop, reason] of [
      ['": "Oslo', 'stop'],
      ['": "Öland', 'stop'],
      ['}\n</tool_call>', 'tool_calls'],
    ] as const) {
      const whole = await client.chat.completions.create(ask(stop));
      const streamed = await client.chat.completions.stream(ask(stop)).finalChatCompletion();
      for (const { choices } of [whole, streamed]) {
        expect(choices[0]).toMatchObject({ finish_reason: reason, stop_reason: stop });
        expect(choices[0]!.message.tool_calls!.length).toBeGreaterThan(0);
      }
    }
  });

  it('reach the template with their results, as earlier messages', async () => {
    const client = await begin('Rain.');
    await client.chat.completions.create({
      model,
      tools,
      messages: [
        ...messages,
        { role: 'assistant', content: null, tool_calls: [{ id: 'c1', type: 'function', function: functions[0]! }] },
        { role: 'tool', tool_call_id: 'c1', content: [{ type: 'text', text: 'rain' }] },
      ],
    });
    expect(rendered.at(-1)).toMatchObject({
      tools,
      messages: [
        ...messages,
        { role: 'assistant', content: null, tool_calls: [{ id: 'c1', function: functions[0] }] },
        { role: 'tool', tool_call_id: 'c1', content: 'rain' },
      ],
    });
  });

  it.each([
    ['<tool_call>\n{"name": "time", "arguments": {"city": oops}}\n</tool_call> bye', 'malformed'],
    ['<tool_call>\n{"name": "time", "arguments": {"city": "Os', 'left open'],
  ])('are given as text where they cannot be read: %s', async (written) => {
    const good = CALLS.slice(0, CALLS.lastIndexOf('\n<tool_call>'));
    for (const [text, names] of [
      [written, []],
      [`${good}\n${written}`, ['weather']],
    ] as const) {
      const client = await begin(text);
      const { choices } = await client.chat.completions.create({ model, messages, tools });
      const [{ message, finish_reason: reason }] = choices as [(typeof choices)[0]];
      expect((message.tool_calls ?? []).map((call) => call.type === 'function' && call.function.name)).toEqual(names);
      expect(message.content).toContain(written);
      expect(reason).toBe(names.length > 0 ? 'tool_calls' : 'stop');
      // What was streamed cannot be taken back; the reason tells that no call is to be made.
      const streamed = await client.chat.completions.create({ model, messages, tools, stream: true });
      const reasons: unknown[] = [];
      for await (const chunk of streamed) reasons.push(chunk.choices[0]?.finish_reason ?? null);
      expect(reasons.filter((one) => one !== null)).toEqual(['stop']);
    }
  });

  it('have ids of their own where the model gives one twice', async () => {
    const call = (id: string) => `{"id": "${id}", "name": "time", "arguments": {}}`;
    const client = await begin(`<tool_call>${call('a')}</tool_call><tool_call>${call('a')}</tool_call>`);
    const { choices } = await client.chat.completions.create({ model, messages, tools });
    const ids = choices[0]!.message.tool_calls!.map(({ id }) => id);
    expect(ids[0]).toBe('a');
    expect(new Set(ids).size).toBe(2);
  });

  it('are forced by a grammar of the tools that may be called', async () => {
    const client = await begin(CALLS);
    await client.chat.completions.create({ model, messages, tools, tool_choice: 'required' });
    expect(compiled).toEqual([
      afterReasoning(
        convention.forcedCalls(
          tools.map((one) => one.function),
          { most: 8 },
        ),
      ),
    ]);
    expect(server.generation.submitted.at(-1)?.constraint).toBeDefined();
    const named = { type: 'function' as const, function: { name: 'time' } };
    const { choices } = await client.chat.completions.create({ model, messages, tools, tool_choice: named });
    // Programs that name a function want one call: structured output by a tool reads the first and fails at a second.
    expect(choices[0]!.message.tool_calls).toHaveLength(1);
    expect(compiled[1]).toEqual(afterReasoning(convention.forcedCalls([tools[1]!.function], { most: 1 })));
    // The model is still told of all.
    expect(rendered.at(-1)).toMatchObject({ tools });
  });
});

describe('tools beside functions', () => {
  const custom = { type: 'custom', custom: { name: 'patch' } };
  const named = (...names: string[]) => names.map((name) => ({ type: 'function', function: { name } }));

  it('are left out and named, or refused where the operator asks for that or nothing would be left', async () => {
    await begin('ok');
    const asked = { messages, tools: [custom, ...tools] };
    const { status, headers } = await post('/v1/chat/completions', asked);
    expect([status, headers.get('x-shoal-ignored-parameters')]).toEqual([200, 'tools[0]']);
    expect(rendered.at(-1)).toMatchObject({ tools });
    const alone = await post('/v1/chat/completions', { messages, tools: [custom] });
    expect(alone.json.error).toMatchObject({ param: 'tools[0].type' });
    const nameless = await post('/v1/chat/completions', { messages, tools: [{ type: 'function' }] });
    expect(nameless.json.error).toMatchObject({ param: 'tools[0].function', code: 'missing_parameter' });
    await server.app.close();
    await start('ok', 4096, { strictParameters: true });
    expect((await post('/v1/chat/completions', asked)).json.error).toMatchObject({ param: 'tools[0]' });
  });

  it('are narrowed to those that are allowed', async () => {
    await begin(CALLS);
    const ask = (mode: string, ...names: string[]) =>
      post('/v1/chat/completions', {
        messages,
        tools,
        tool_choice: { type: 'allowed_tools', allowed_tools: { mode, tools: named(...names) } },
      });
    expect((await ask('auto', 'time')).status).toBe(200);
    expect(rendered.at(-1)).toMatchObject({ tools: [tools[1]] });
    expect(compiled).toEqual([]);
    expect((await ask('required', 'time', 'other')).status).toBe(200);
    expect(compiled).toEqual([afterReasoning(convention.forcedCalls([tools[1]!.function], { most: 8 }))]);
    expect((await ask('required', 'other')).json.error).toMatchObject({ param: 'tool_choice' });
  });
});

describe('an answer’s format', () => {
  it('holds for the beginning that a client sends together with the rest', async () => {
    const grammars = new Grammars({ vocabulary: byteVocabulary() });
    await start('2}', 4096, { grammars });
    const response_format = { type: 'json_object', schema: { type: 'object', properties: { a: { type: 'integer' } } } };
    const go = (content: string, more: object = {}) =>
      post('/v1/chat/completions', {
        messages: [...messages, { role: 'assistant', content }],
        continue_final_message: true,
        response_format,
        ...more,
      });
    try {
      expect((await go('{"a": 2')).status).toBe(200);
      const { constraint } = server.generation.submitted.at(-1)!;
      const [mask] = await constraint!.masks([]);
      const next = idsOf(mask, byteVocabulary().size).map((id) => String.fromCharCode(id));
      expect(next.filter((text) => text.trim() !== '').sort()).toEqual(
        [...'.0123456789E}e'].filter((c) => next.includes(c)),
      );
      expect(next).toContain('}');
      expect(next).not.toContain('{');
      constraint!.close();
      const refused = await go('Sure: ');
      expect(refused.status).toBe(400);
      expect(refused.json.error).toMatchObject({ param: 'messages', message: expect.stringContaining('beginning') });
      expect(grammars.figures.sessions).toBe(0);
      // Calls that are required come after the text.
      expect((await go('Sure: ', { response_format: undefined, tools, tool_choice: 'required' })).status).toBe(200);
      server.generation.submitted.at(-1)!.constraint!.close();
    } finally {
      await grammars.close();
    }
  });

  it.each<[object, GrammarSource]>([
    [{ response_format: { type: 'json_object' } }, { kind: 'json-object' }],
    [{ response_format: { type: 'json_object', schema: parameters } }, { kind: 'json-schema', schema: parameters }],
    [
      { response_format: { type: 'json_schema', json_schema: { name: 'x', strict: true, schema: parameters } } },
      { kind: 'json-schema', schema: parameters },
    ],
    [{ structured_outputs: { json: parameters } }, { kind: 'json-schema', schema: parameters }],
    [{ guided_json: JSON.stringify(parameters) }, { kind: 'json-schema', schema: parameters }],
    [{ structured_outputs: { regex: 'a+' } }, { kind: 'regex', pattern: 'a+' }],
    [{ guided_choice: ['a', 'b'] }, { kind: 'choice', choices: ['a', 'b'] }],
    [{ grammar: 'root ::= "a"' }, { kind: 'gbnf', grammar: 'root ::= "a"' }],
    [{ json_schema: parameters }, { kind: 'json-schema', schema: parameters }],
  ])('is compiled once for all choices: %j', async (asked, source) => {
    await begin('{}');
    const { status } = await post('/v1/chat/completions', { messages, n: 2, ...asked });
    expect(status).toBe(200);
    expect(compiled).toEqual([afterReasoning(source)]);
    expect(server.generation.submitted.map(({ constraint }) => constraint !== undefined)).toEqual([true, true]);
  });

  it.each([
    [{ enable_thinking: false }],
    [{ reasoning_effort: 'none' }],
    [{ chat_template_kwargs: { thinking: false } }],
  ])('begins at once where reasoning is switched off: %j', async (off) => {
    await begin('{}');
    await post('/v1/chat/completions', { messages, response_format: { type: 'json_object' }, ...off });
    expect(compiled).toEqual([{ kind: 'json-object' }]);
  });

  it('leaves a call possible where there are tools', async () => {
    await begin('{}');
    await post('/v1/chat/completions', { messages, tools, response_format: { type: 'json_object' } });
    const calls = convention.forcedCalls(
      tools.map((one) => one.function),
      { most: 8 },
    );
    expect(compiled).toEqual([afterReasoning({ kind: 'either', sources: [{ kind: 'json-object' }, calls] })]);
  });

  it('of a function’s arguments is an object', async () => {
    await begin('{}');
    const ask = async (own: object, choice = 'required') => {
      const asked = { ...tools[0]!.function, parameters: own };
      return post('/v1/chat/completions', {
        messages,
        tools: [{ type: 'function', function: asked }],
        tool_choice: choice,
      });
    };
    for (const type of ['string', ['array', 'null']]) {
      const { status, json } = await ask({ type });
      expect(status).toBe(400);
      expect(json).toMatchObject({ error: { param: 'tools[0].function.parameters' } });
    }
    for (const own of [{ $schema: 'x' }, { description: 'x' }, { type: ['object', 'null'] }]) {
      compiled.length = 0;
      expect((await ask(own)).status).toBe(200);
      expect(JSON.stringify(compiled)).toContain(JSON.stringify({ ...own, type: 'object' }));
    }
  });

  it('is refused by name where it cannot be honoured', async () => {
    const client = await begin('{}', new GrammarError('unsupported', 'the keyword "not" is not supported.'));
    const response_format = { type: 'json_schema' as const, json_schema: { name: 'x', schema: { not: {} } } };
    const error = await failure(client.chat.completions.create({ model, messages, response_format }));
    expect(error).toMatchObject({ status: 400, param: 'response_format' });
    expect(error.message).toContain('the keyword "not" is not supported.');
    expect(server.generation.submitted).toEqual([]);
  });

  it.each(['compile', 'open'] as const)('is to be asked for later where too many are (%s)', async (at) => {
    const client = await begin('{}', new GrammarError('full', 'too many'), at);
    const error = await failure(
      client.chat.completions.create({ model, messages, response_format: { type: 'json_object' } }),
    );
    expect(error).toMatchObject({ status: 429, code: 'queue_share_full' });
    expect(error.headers?.get('retry-after')).toBe('2');
  });
});

describe('special tokens', () => {
  it('that are no markup are shown where that is asked for', async () => {
    await start(() => ({ ids: [...says('one'), 256, ...says('two')] }), 4096, { convention, codec: byteCodec() });
    for (const own of [{}, { tools }]) {
      const content = async (more: object) =>
        (await post('/v1/chat/completions', { messages, ...own, ...more })).json.choices[0]!.message;
      expect(await content({})).toMatchObject({ content: 'onetwo' });
      expect(await content({ skip_special_tokens: false })).toMatchObject({ content: 'one<|begin|>two' });
    }
  });
});

describe('reasoning', () => {
  const THOUGHT = '<think>\nIt rains.\n</think>\n\nRain.';

  it('is apart from the content, whole and streamed, and counted', async () => {
    const client = await begin(THOUGHT);
    const whole = await client.chat.completions.create({ model, messages });
    const { message } = whole.choices[0]!;
    expect(message.content).toBe('Rain.');
    expect((message as { reasoning_content?: string }).reasoning_content?.trim()).toBe('It rains.');
    expect(whole.usage?.completion_tokens_details?.reasoning_tokens).toBeGreaterThanOrEqual('It rains.'.length);
    expect(whole.usage?.completion_tokens_details?.reasoning_tokens).toBeLessThan(THOUGHT.length - 'Rain.'.length + 1);
    const texts = { content: '', reasoning_content: '' };
    for await (const { choices } of await client.chat.completions.create({ model, messages, stream: true })) {
      const delta = choices[0]?.delta as Partial<typeof texts> | undefined;
      texts.content += delta?.content ?? '';
      texts.reasoning_content += delta?.reasoning_content ?? '';
    }
    expect(texts.content).toBe('Rain.');
    expect(texts.reasoning_content.trim()).toBe('It rains.');
  });

  it('is left out where it is not wanted', async () => {
    await begin(THOUGHT);
    const { json } = await post('/v1/chat/completions', { messages, include_reasoning: false });
    expect(json.choices[0]!.message).toEqual({ role: 'assistant', content: 'Rain.', refusal: null });
  });

  it('is switched by each name that programs have for it', async () => {
    await begin('x');
    const off = { enable_thinking: false, thinking: false };
    for (const [asked, variables] of [
      [{ reasoning_effort: 'high' }, { reasoning_effort: 'high' }],
      [{ reasoning_effort: 'none' }, { reasoning_effort: 'none', ...off }],
      [{ enable_thinking: false }, off],
      [{ thinking: { type: 'disabled' } }, off],
      [{ chat_template_kwargs: { enable_thinking: false } }, { enable_thinking: false }],
      [{}, {}],
    ]) {
      await post('/v1/chat/completions', { messages, ...asked });
      expect(rendered.at(-1)).toMatchObject({ variables });
    }
  });
});
