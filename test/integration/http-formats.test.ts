import { describe, expect, it } from 'vitest';
import { GrammarError, Grammars, type GrammarSource } from '../../coordinator/src/grammar/index.ts';
import { byteVocabulary, idsOf } from '../../coordinator/src/grammar/testing/byte-vocabulary.ts';
import { byteCodec } from '../../coordinator/src/http/testing/byte-codec.ts';
import { failure, model, post, says, server, start } from './openai-client.ts';
import { afterReasoning, begin, compiled, convention, messages, parameters, rendered, tools } from './tool-server.ts';

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
