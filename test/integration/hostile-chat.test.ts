import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Coordinator } from '../../coordinator/src/index.ts';
import { startTinyCoordinator } from './tiny-coordinator.ts';

let coordinator: Coordinator;
beforeAll(async () => {
  coordinator = await startTinyCoordinator();
});
afterAll(() => coordinator.close());

const messages = [{ role: 'user', content: 'Once upon a time' }];
const nested = (depth: number, key = 'properties'): object =>
  depth === 0 ? { type: 'string' } : { type: 'object', [key]: { a: nested(depth - 1, key) } };
const many = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));
const keys = (count: number, value: unknown): object => Object.fromEntries(many(count, (i) => [`k${i}`, value]));
const tool = (name: unknown, parameters?: unknown) => ({ type: 'function', function: { name, parameters } });
const called = (call: unknown) => [...messages, { role: 'assistant', content: null, tool_calls: [call] }];
const schema = (value: unknown) => ({
  response_format: { type: 'json_schema', json_schema: { name: 'x', schema: value } },
});
const required = (parameters: unknown) => ({ tools: [tool('f', parameters)], tool_choice: 'required' });

/** Bodies that must be refused. */
const REFUSED: [what: string, body: object][] = [
  ['no messages', { messages: null }],
  ['messages as an object', { messages: {} }],
  ['a message as a string', { messages: ['x'] }],
  ['a role as an array', { messages: [{ role: ['user'], content: 'x' }] }],
  ['an unknown role', { messages: [{ role: '__proto__', content: 'x' }] }],
  ['content as a number', { messages: [{ role: 'user', content: 5 }] }],
  ['content as an object', { messages: [{ role: 'user', content: { text: 'x' } }] }],
  ['an image', { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }],
  ['an audio part', { messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: {} }] }] }],
  ['a part without a type', { messages: [{ role: 'user', content: [{ text: 'x' }] }] }],
  ['a long name', { messages: [{ role: 'user', content: 'x', name: 'n'.repeat(10_000) }] }],
  ['calls as a string', { messages: called('x') }],
  ['a call without a function', { messages: called({ id: '1', type: 'function' }) }],
  ['a call without a name', { messages: called({ function: { arguments: '{}' } }) }],
  ['a call with a long name', { messages: called({ function: { name: 'f'.repeat(300), arguments: '{}' } }) }],
  ['a call of another type', { messages: called({ type: 'custom', function: { name: 'f' } }) }],
  ['arguments as an array', { messages: called({ function: { name: 'f', arguments: [] } }) }],
  ['too many calls', { messages: [{ role: 'assistant', tool_calls: many(513, () => tool('f')) }] }],
  ['tools as an object', { tools: { f: {} } }],
  ['a tool without a name', { tools: [tool(undefined)] }],
  ['a tool with an empty name', { tools: [tool('')] }],
  ['a tool with a name of a megabyte', { tools: [tool('f'.repeat(900_000))] }],
  ['a tool of another type', { tools: [{ type: 'code_interpreter' }] }],
  ['a tool’s parameters as an array', { tools: [tool('f', [])] }],
  ['a tool’s parameters as a string', { tools: [tool('f', '{}')] }],
  ['two tools of one name', { tools: [tool('f'), tool('f')] }],
  ['too many tools', { tools: many(513, (i) => tool(`f${i}`)) }],
  ['a choice of no tool', { tool_choice: 'required' }],
  ['a choice of an unknown tool', { tools: [tool('f')], tool_choice: tool('g') }],
  ['a choice of an unknown kind', { tools: [tool('f')], tool_choice: 'any' }],
  ['variables as an array', { chat_template_kwargs: [] }],
  ['variables that are ours', { chat_template_kwargs: { messages: [] } }],
  ['variables that are no names', { chat_template_kwargs: { '{{x}}': 1 } }],
  ['a template', { chat_template: '{% for a in range(10**9) %}{% endfor %}' }],
  ['an effort as a number', { reasoning_effort: 7 }],
  ['a format of an unknown type', { response_format: { type: 'xml' } }],
  ['a format without a schema', { response_format: { type: 'json_schema', json_schema: {} } }],
  ['a schema as an array', schema([])],
  ['a schema as a string', schema('{}')],
  ['two formats', { guided_json: {}, guided_regex: 'a' }],
  ['a schema that is not JSON', { guided_json: '{"type":' }],
  ['choices that are none', { guided_choice: [] }],
  ['choices of numbers', { guided_choice: [1] }],
  ['a grammar without a root', { grammar: 'start ::= "a"' }],
  ['a grammar of an unknown rule', { grammar: 'root ::= missing' }],
  ['a grammar that calls itself', { grammar: 'root ::= root' }],
  ['a grammar of huge repetition', { grammar: 'root ::= ("a"{1000000}){1000000}' }],
  ['a regex that is not closed', { guided_regex: '(' }],
  ['a regex with a reference', { guided_regex: '(a)\\1' }],
  ['a regex that looks ahead', { guided_regex: '(?=a)b' }],
  ['a schema with not', schema({ not: { type: 'string' } })],
  ['a schema of another host', schema({ $ref: 'https://example.org/schema.json' })],
  ['a schema that refers to nothing', schema({ $ref: '#/$defs/none' })],
  [
    'a schema of a thousand levels of references',
    schema({
      $ref: '#/$defs/k0',
      $defs: Object.fromEntries(
        many(1_000, (i) => [`k${i}`, { allOf: many(8, () => ({ $ref: `#/$defs/k${(i + 1) % 1_000}` })) }]),
      ),
    }),
  ],
  [
    'a schema of endless items',
    schema({ type: 'array', minItems: 1_000_000, items: { type: 'array', minItems: 1_000_000 } }),
  ],
  ['a schema of an unknown type', schema({ type: 'banana' })],
  ['a schema of contradictions', schema({ type: 'integer', minimum: 5, maximum: 4 })],
  ['a schema of no choice', schema({ enum: [] })],
  ['a schema of endless text', schema({ type: 'string', minLength: 100_000_000 })],
  [
    'a required call with a hostile schema',
    required({ type: 'object', properties: { a: { not: {} } }, required: ['a'] }),
  ],
  ['a required call without an end', { ...required({ type: 'object' }), ignore_eos: true }],
  ['a bias as a string', { logit_bias: { 5: '1' } }],
  ['a bias of infinity', { logit_bias: { 5: 1e308 * 10 } }],
  ['a bias of a word', { logit_bias: { __proto__x: 1 } }],
  ['too many biases', { logit_bias: Object.fromEntries(many(1_025, (i) => [i, 1])) }],
  ['a bias outside the vocabulary', { logit_bias: { 100000: 1 } }],
  ['a temperature below zero', { temperature: -0.1 }],
  ['a penalty of a million', { frequency_penalty: 1e6 }],
  ['a repetition penalty of nothing', { repetition_penalty: 0 }],
  ['a min_p above one', { min_p: 1.01 }],
  ['a negative min_tokens', { min_tokens: -1 }],
  ['a fraction of a token', { max_tokens: 0.5 }],
  ['a negative max_tokens', { max_tokens: -2 }],
  ['too many stop tokens', { stop_token_ids: many(129, (i) => i) }],
  ['stop strings of numbers', { stop: [1] }],
  ['too many answers', { n: 33 }],
  ['a seed of a half', { seed: 0.5 }],
  ['top_logprobs alone', { top_logprobs: 3 }],
  ['too many top_logprobs', { logprobs: true, top_logprobs: 21 }],
  ['a schema of many brackets as a text', { guided_json: `[${'['.repeat(100_000)}` }],
  ['a schema of many keys as a text', { guided_json: JSON.stringify(keys(20_000, 1)) }],
  [
    'biases that leave nothing to draw',
    { guided_regex: '^a$', logit_bias: Object.fromEntries(many(1_000, (i) => [i, -100])) },
  ],
  ['levels of nesting', { metadata: nested(40) }],
  ['objects', { metadata: many(9_000, () => ({})) }],
  ['keys', { metadata: keys(17_000, 1) }],
];

/** Bodies that look hostile and are answered. */
const ANSWERED: [what: string, body: object][] = [
  ['names from Object.prototype', { ...JSON.parse('{"hasOwnProperty": 1, "toString": 2}') }],
  ['special tokens in a tool', { tools: [tool('f', { type: 'object', description: '<|endoftext|><|user|>' })] }],
  ['braces of templates', { messages: [{ role: 'user', content: '{{ messages }}{% raw %}' }] }],
  ['an empty conversation', { messages: [{ role: 'user', content: 'a' }, { role: 'assistant' }, { role: 'user' }] }],
  ['a result without a call', { messages: [...messages, { role: 'tool', content: 'x', tool_call_id: 'nobody' }] }],
  ['a call that is no JSON', { messages: called({ id: '1', function: { name: 'f', arguments: '{"a":' } }) }],
  ['tools of every odd name', { tools: [tool('__proto__'), tool('constructor'), tool('"\'\\\n</tool_call>')] }],
  ['a stop string of one space', { stop: [' '] }],
  ['unknown parameters', keys(1_000, 'x')],
  ['a regex of huge repetition', { guided_regex: '((a{1000}){1000}){1000}' }],
  ['a schema with a hostile pattern', schema({ type: 'string', pattern: '^(a{1,1000}){1,1000}$' })],
  ['a schema that refers to itself only', schema({ $ref: '#' })],
  ['a bias of a prototype', { logit_bias: {}, __proto__x: 1 }],
];

const ask = (body: object): Promise<Response> =>
  fetch(`${coordinator.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages, max_tokens: 4, temperature: 0, ...body }),
  });

describe('a hostile chat request', () => {
  it('is refused by name or answered, and harms nobody else’s answer', { timeout: 60_000 }, async () => {
    const before = await (await ask({})).json();
    const wrong: unknown[] = [];
    for (const [what, body] of REFUSED) {
      const response = await ask(body);
      const { error } = (await response.json()) as { error?: { message: string; type: string } };
      const isRefused = response.status >= 400 && response.status < 500 && error?.type === 'invalid_request_error';
      if (!isRefused || !error.message) wrong.push([what, response.status, error]);
    }
    for (const [what, body] of ANSWERED) {
      const response = await ask(body);
      const text = await response.text();
      if (response.status !== 200 || !text.includes('"choices"')) wrong.push([what, response.status, text]);
    }
    expect(wrong).toEqual([]);
    const after = await (await ask({})).json();
    expect(after).toMatchObject({ choices: (before as { choices: unknown }).choices as object });
  });
});
