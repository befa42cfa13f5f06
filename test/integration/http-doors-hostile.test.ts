import { describe, expect, it } from 'vitest';
import { Access } from '../../coordinator/src/access/access.ts';
import { ApiKeys } from '../../coordinator/src/access/api-keys.ts';
import { accessFixture, entry } from '../../coordinator/src/access/testing/fixtures.ts';
import { answerWith, post, server } from './answering.ts';

const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);
const many = (count: number, value: unknown) => Array.from({ length: count }, () => value);

/** Values that no field of any of the bodies may have, by what they are. */
const VALUES: Record<string, unknown> = {
  'a number': 7,
  'a boolean': true,
  'an empty object': {},
  'an array of null': [null],
  'an array of numbers': [1, 2],
  'an array of arrays': [[['x']]],
  'a long array of null': many(2_000, null),
};

interface Door {
  path: string;
  good: Record<string, unknown>;
  /** Fields that take none of VALUES. */
  fields: string[];
  /** Bodies of its own kind of wrong. */
  more: Record<string, unknown>;
}

const user = { role: 'user', content: 'x' };
const message = (content: unknown, role = 'user') => ({ messages: [{ role, content }] });
const tool = { name: 'f', input_schema: { type: 'object' } };
const item = (more: object) => ({ input: [more] });

const messagesMore = {
  'no messages': { messages: [] },
  'a foreign role': message('x', 'root'),
  'an image': message([{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'AA==' } }]),
  'a document': message([{ type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'x' } }]),
  'an image in a result': message([
    { type: 'tool_result', tool_use_id: 'a', content: [{ type: 'image', source: {} }] },
  ]),
  'a result without an id': message([{ type: 'tool_result', content: 'x' }]),
  'a result of the assistant': message([{ type: 'tool_result', tool_use_id: 'a', content: 'x' }], 'assistant'),
  'a call of the user': message([{ type: 'tool_use', id: 'a', name: 'f', input: {} }]),
  'a call without a name': message([{ type: 'tool_use', id: 'a', input: {} }], 'assistant'),
  'a call whose input is text': message([{ type: 'tool_use', id: 'a', name: 'f', input: 'x' }], 'assistant'),
  'a call without an input': message([{ type: 'tool_use', id: 'a', name: 'f' }], 'assistant'),
  'a text without text': message([{ type: 'text' }]),
  'a thought without thought': message([{ type: 'thinking', signature: '' }], 'assistant'),
  'a thought of the user': message([{ type: 'thinking', thinking: 'x' }]),
  'nothing but a bill': message('x-anthropic-billing-header: a', 'system'),
  'a thread': { thread: { type: 'create' } },
  'a long id': message([{ type: 'tool_result', tool_use_id: 'a'.repeat(600), content: 'x' }]),
  'too many tools': { tools: many(600, tool) },
  'two tools of a name': { tools: [tool, tool] },
  'only foreign tools': { tools: [{ type: 'bash_20250124', name: 'bash' }] },
  'a choice without tools': { tool_choice: { type: 'any' } },
  'a choice of nothing': { tools: [tool], tool_choice: { type: 'tool' } },
  'a choice of another tool': { tools: [tool], tool_choice: { type: 'tool', name: 'g' } },
  'a hot temperature': { temperature: 1.5 },
  'long stop strings': { stop_sequences: ['x'.repeat(300)] },
  'many stop strings': { stop_sequences: many(100, 'x') },
  'another model': { model: 'other' },
  'servers of tools': { mcp_servers: [{ type: 'url', url: 'x' }] },
  'a schema that is text': { output_config: { format: { type: 'json_schema', schema: 'x' } } },
  'thinking of another kind': { thinking: { type: 'deep' } },
  'system of images': { system: [{ type: 'image' }] },
  'a reserved variable': { chat_template_kwargs: { messages: [] } },
};

const DOORS: Door[] = [
  {
    path: '/v1/messages',
    good: { max_tokens: 5, messages: [user] },
    fields: ['messages', 'tools', 'stop_sequences'],
    more: {
      ...messagesMore,
      'no limit': { max_tokens: null },
      'no room': { max_tokens: 0 },
      'half a token': { max_tokens: 1.5 },
    },
  },
  { path: '/v1/messages/count_tokens', good: { messages: [user] }, fields: ['messages', 'tools'], more: messagesMore },
  {
    path: '/v1/responses',
    good: { input: 'x' },
    fields: ['input', 'tools'],
    more: {
      'no input': { input: null },
      'an empty input': { input: [] },
      'a foreign item': item({ type: 'computer_call', id: 'a' }),
      'a foreign role': item({ role: 'root', content: 'x' }),
      'a message without a role': item({ type: 'message', content: 'x' }),
      'a message without content': item({ role: 'user' }),
      'an image': item({ role: 'user', content: [{ type: 'input_image', image_url: 'x' }] }),
      'a file': item({ role: 'user', content: [{ type: 'input_file', file_id: 'x' }] }),
      'a call without a name': item({ type: 'function_call', call_id: 'a', arguments: '{}' }),
      'a call without arguments': item({ type: 'function_call', call_id: 'a', name: 'f' }),
      'an output without a call': item({ type: 'function_call_output', output: 'x' }),
      'a reference to nothing': item({ type: 'item_reference', id: 'msg_x' }),
      'an earlier answer that is not there': { previous_response_id: 'resp_x' },
      'an earlier answer with a long id': { previous_response_id: 'x'.repeat(600) },
      'a function without a name': { tools: [{ type: 'function' }] },
      'only foreign tools': { tools: [{ type: 'web_search' }] },
      'a choice without tools': { tool_choice: 'required' },
      'a foreign choice': { tool_choice: { type: 'web_search' } },
      'a choice of another function': {
        tools: [{ type: 'function', name: 'f' }],
        tool_choice: { type: 'function', name: 'g' },
      },
      'a schema of no kind': { text: { format: { type: 'yaml' } } },
      'no schema': { text: { format: { type: 'json_schema', name: 'x' } } },
      'work in the background': { background: true },
      'a conversation': { conversation: 'conv_x' },
      'a stored prompt': { prompt: { id: 'x' } },
      'much metadata': { metadata: Object.fromEntries(many(17, 0).map((_, i) => [`k${i}`, 'v'])) },
      'metadata of numbers': { metadata: { a: 1 } },
      'many alternatives': { top_logprobs: 1000 },
      'no room': { max_output_tokens: 0 },
      'another model': { model: 'other' },
      'an effort of another kind': { reasoning: { effort: 'heroic' } },
      'truncation of another kind': { truncation: 'middle' },
    },
  },
  {
    path: '/v1/tokenize',
    good: { prompt: 'x' },
    fields: ['prompt', 'messages', 'content'],
    more: {
      'two texts': { content: 'x' },
      nothing: { prompt: null },
      'another model': { model: 'other' },
      'an image': { prompt: null, ...message([{ type: 'image_url', image_url: { url: 'x' } }]) },
    },
  },
  {
    path: '/v1/detokenize',
    good: { tokens: [65] },
    fields: [],
    more: {
      'no tokens': { tokens: null },
      'tokens outside the vocabulary': { tokens: [100_000] },
      'negative tokens': { tokens: [-1] },
      'tokens of text': { tokens: ['x'] },
      'half tokens': { tokens: [0.5] },
      'too many tokens': { tokens: many(140_000, 1) },
      'another model': { model: 'other' },
    },
  },
];

/** Bodies that are wrong wherever they are sent. */
const RAW: Record<string, string> = {
  'no JSON': '{',
  nothing: '',
  'an array': '[]',
  text: '"x"',
  null: 'null',
  'nested deeply': `{"a":${deep(2_000)}}`,
  'a prototype': '{"__proto__":{"a":1}}',
  'too much': JSON.stringify({ prompt: 'x'.repeat(1 << 21) }),
  'many keys': JSON.stringify(Object.fromEntries(many(20_000, 0).map((_, i) => [`k${i}`, 0]))),
};

function bodiesOf({ good, fields, more }: Door): [name: string, body: unknown][] {
  const wrongFields = fields.flatMap((field) =>
    Object.entries(VALUES).map(([what, value]): [string, unknown] => [
      `${field}: ${what}`,
      { ...good, [field]: value },
    ]),
  );
  const wrong = Object.entries(more).map(([what, change]): [string, unknown] => [
    what,
    { ...good, ...(change as object) },
  ]);
  return [...Object.entries(RAW), ...wrongFields, ...wrong];
}

const OPENAI_ERROR = {
  error: { message: expect.any(String), type: expect.stringMatching(/_error$/), param: expect.toSatisfy(isLabel) },
};
const ANTHROPIC_ERROR = {
  type: 'error',
  error: { type: expect.stringMatching(/_error$|^request_too_large$/), message: expect.any(String) },
  request_id: expect.any(String),
};

function isLabel(value: unknown): boolean {
  return value === null || typeof value === 'string';
}

describe('hostile bodies', () => {
  it.each(DOORS)('are refused at $path, in its own shape', async (door) => {
    await answerWith('x');
    const shape = door.path.startsWith('/v1/messages') ? ANTHROPIC_ERROR : OPENAI_ERROR;
    const bodies = bodiesOf(door);
    const refuse = async ([name, body]: [string, unknown]): Promise<void> => {
      const response = await post(door.path, body);
      const answer = (await response.json()) as object;
      expect(response.status, `${name}: ${JSON.stringify(answer)}`).toBeGreaterThanOrEqual(400);
      expect(response.status, `${name}: ${JSON.stringify(answer)}`).toBeLessThan(500);
      expect(answer, name).toMatchObject(shape);
    };
    await Promise.all(bodies.map(refuse));
    expect((await post(door.path, door.good)).status).toBe(200);
    expect(server.generation.live).toBe(0);
  });

  it('are 40 and more for each endpoint that answers', () => {
    const counts = DOORS.filter(({ path }) => /messages|responses/.test(path)).map((door) => bodiesOf(door).length);
    expect(Math.min(...counts)).toBeGreaterThanOrEqual(40);
  });
});

describe('keys', () => {
  const file = accessFixture();
  const keyed = () =>
    answerWith('x', {
      access: {
        keys: new ApiKeys(file.open({ apiKeys: [entry('ann', 'key-of-ann'), entry('eve', 'key-of-eve')] }) as Access),
        takeShardBytes: () => 0,
        refuseMetrics: () => undefined,
        refuseOperator: () => undefined,
        addressOf: () => '203.0.113.7',
      },
    });

  it('are asked for at every door, whatever its spelling', async () => {
    await keyed();
    const paths = DOORS.map(({ path }) => path);
    for (const path of [...paths, '/tokenize', '/detokenize', '//tokenize', '/tokenize/', '/messages', '/%74okenize']) {
      const response = await post(path, {});
      expect([401, 404], path).toContain(response.status);
      if (response.status === 404) continue;
      const error = /messages/.test(path) ? 'authentication_error' : 'invalid_request_error';
      expect(await response.json(), path).toMatchObject({ error: { type: error } });
    }
    const answered = await post('/tokenize', { prompt: 'x' }, { 'x-api-key': 'key-of-ann' });
    expect(answered.status).toBe(200);
  });

  it('keep stored answers apart', async () => {
    await keyed();
    const as = (who: string) => ({ authorization: `Bearer key-of-${who}` });
    const { id } = (await (await post('/v1/responses', { input: 'x' }, as('ann'))).json()) as { id: string };
    const read = (who: string) => fetch(`${server.url}/v1/responses/${id}`, { headers: as(who) });
    expect((await read('eve')).status).toBe(404);
    expect((await post('/v1/responses', { input: 'x', previous_response_id: id }, as('eve'))).status).toBe(400);
    expect((await fetch(`${server.url}/v1/responses/${id}`)).status).toBe(401);
    expect((await fetch(`${server.url}/v1/responses/${id}`, { method: 'DELETE', headers: as('eve') })).status).toBe(
      404,
    );
    // A key's answers are its own wherever it is used.
    expect((await read('ann')).status).toBe(200);
  });
});
