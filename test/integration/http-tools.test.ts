import { describe, expect, it } from 'vitest';
import { model, post, server, start } from './openai-client.ts';
import {
  afterReasoning,
  begin,
  CALLS,
  compiled,
  convention,
  functions,
  messages,
  rendered,
  tools,
} from './tool-server.ts';

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
    [
      '/v1/chat/completions',
      '"messages": [{"role": "user", "content": "?"}]',
      '{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}',
    ],
    ['/v1/responses', '"input": "?"', '{"type": "function", "name": "f", "parameters": SCHEMA}'],
    [
      '/v1/messages',
      '"max_tokens": 4, "messages": [{"role": "user", "content": "?"}]',
      '{"name": "f", "input_schema": SCHEMA}',
    ],
  ])('%s hands the text of a schema on where JavaScript would lose some of it', async (path, asked, tool) => {
    await begin('ok');
    const schema = '{"type": "object", "properties": {"x": {"minimum": 1.0}}}';
    const { status } = await post(
      path,
      `{"model": "${model}", ${asked}, "tools": [${tool.replace('SCHEMA', schema)}]}`,
    );
    expect(status).toBe(200);
    expect(rendered.at(-1)).toMatchObject({ tools: [{ parametersJson: schema }] });
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
