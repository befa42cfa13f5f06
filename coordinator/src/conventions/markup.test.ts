import { describe, expect, it } from 'vitest';
import { chooseConvention, conventionByName } from './choose-convention.ts';
import type { Tool } from './output-parser.ts';
import { byCharacter, readAnswer, twoSplits } from './testing/read-answer.ts';
import type { Piece } from './testing/render-calls.ts';

const anyOf = [{ type: 'integer' }, { type: 'null' }];
const properties = {
  text: { type: 'string' },
  count: anyOf[0],
  on: { type: 'boolean' },
  list: { type: 'array' },
  maybe: { anyOf },
};
const $defs = { name: { type: 'string' } };
const tools: Tool[] = [
  { name: 'f', parameters: { type: 'object', $defs, properties: { ...properties, ref: { $ref: '#/$defs/name' } } } },
  { name: 'g' },
];

/** What a convention reads, however the text is cut: [content, calls]. */
function read(name: string, pieces: Piece[]): unknown[] {
  const convention = conventionByName(name, { template: '' });
  const once = (cut: Piece[]): unknown[] => {
    const { content, calls } = readAnswer(convention, cut, { tools });
    return [content, ...calls.map((call) => `${call.name} ${call.arguments}`)];
  };
  const whole = once(pieces);
  for (const split of twoSplits(pieces)) expect(once(split)).toEqual(whole);
  expect(once(byCharacter(pieces))).toEqual(whole);
  return whole;
}

const parameter = (key: string, value: string): string => `<parameter=${key}>\n${value}\n</parameter>\n`;
const coder = (...parameters: string[]): string =>
  `<tool_call>\n<function=f>\n${parameters.join('')}</function>\n</tool_call>`;

describe('text around calls', () => {
  it('is content, without the white space between', () => {
    const call = '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>';
    expect(read('hermes', [`I look.\n\n${call}\n${call}\n\nDone.\n`])).toEqual(['I look.\n\nDone.', 'g {}', 'g {}']);
    expect(read('hermes', [`\n${call}\n`])).toEqual(['', 'g {}']);
  });

  it('is all there is where nothing is a call', () => {
    for (const text of [
      'a <tool_call',
      '<tool_call>nope</tool_call>',
      '<tool_call>{"name": 3}</tool_call>',
      '<tool_call>{"arguments": {}}</tool_call>',
      '<tool_call>{"name": "g", "arguments"',
      '<tool_call>["g"]</tool_call>',
      'An end: </tool_call>',
    ]) {
      expect(read('hermes', [text])).toEqual([text]);
    }
    expect(read('qwen3_coder', ['<tool_call>\n<function=>'])).toEqual(['<tool_call>\n<function=>']);
    expect(read('kimi_k2', [{ special: '<|tool_calls_section_begin|>' }, 'nope'])).toEqual(['nope']);
    expect(read('deepseek_v31', ['<｜tool▁calls▁begin｜>nope'])).toEqual(['<｜tool▁calls▁begin｜>nope']);
    expect(read('mistral', ['[TOOL_CALLS]two words'])).toEqual(['[TOOL_CALLS]two words']);
  });

  it('holds special tokens that are no markup where they are shown', () => {
    const image = { special: '<|image|>' };
    const written: Piece[] = ['One ', image, ' two.', image, { special: '<tool_call>' }, '{"name": "g"}</tool_call>'];
    const convention = chooseConvention({ template: '<think></think><tool_call>{"name":' });
    const shown = readAnswer(convention, written, { tools: [{ name: 'g' }], showsSpecialTokens: true });
    expect(shown).toMatchObject({ content: 'One <|image|> two.<|image|>', calls: [{ name: 'g', arguments: '{}' }] });
    expect(readAnswer(convention, written, { tools: [{ name: 'g' }] }).content).toBe('One  two.');
    const bare = readAnswer(convention, written.slice(0, 3), { tools: [], showsSpecialTokens: true });
    expect(bare.content).toBe('One <|image|> two.');
  });

  it('goes on after a call that breaks off', () => {
    expect(read('hermes', ['<tool_call>{"name": "g", "arguments": {"a" 1}}</tool_call> Hm.'])).toEqual([
      '1}}</tool_call> Hm.',
      'g {"a" ',
    ]);
  });
});

describe('JSON that models write', () => {
  it.each([
    ['{"arguments": {"a": 1}, "name": "g"}', 'g {"a": 1}'],
    ['{"name": "g"}', 'g {}'],
    ['{"name": "g", "arguments": null}', 'g {}'],
    ['{"name": "g", "parameters": {"a": 1}}', 'g {"a": 1}'],
    ['{"name": "g", "arguments": "{\\"a\\": 1}"}', 'g {"a": 1}'],
    ['{"type": "function", "function": {"name": "g", "arguments": {"a": 1}}}', 'g {"a": 1}'],
    ['{"name": "other", "arguments": {}}', 'other {}'],
    ['{"name": "g", "arguments": {"a": "x\ny", "b": [1, 2, ], }}', 'g {"a": "x\\ny", "b": [1, 2]}'],
    [
      `{"name": "g", "arguments": {'a': 'it\\'s "x"', "b": True, "c": None}}`,
      'g {"a": "it\'s \\"x\\"", "b": true, "c": null}',
    ],
    ['{"name": "g", "arguments": {"a": "C:\\dir"}}', 'g {"a": "C:\\\\dir"}'],
  ])('is read: %s', (json, call) => {
    expect(read('hermes', [`<tool_call>\n${json}\n</tool_call>`])).toEqual(['', call]);
  });

  it('may be several calls in a block, or a list', () => {
    const [one, two] = ['{"name": "g", "arguments": {}}', '{"name": "f", "arguments": {"a": 1}}'];
    expect(read('hermes', [`<tool_call>\n${one}\n${two}\n</tool_call>`])).toEqual(['', 'g {}', 'f {"a": 1}']);
    expect(read('mistral_json', [`[TOOL_CALLS] [${one}, ${two}]`])).toEqual(['', 'g {}', 'f {"a": 1}']);
  });
});

describe('arguments written as text', () => {
  it('have the types of the schema', () => {
    const call = coder(
      parameter('text', '12'),
      parameter('count', '12'),
      parameter('on', 'True'),
      parameter('list', '[1, "a"]'),
      parameter('maybe', 'None'),
      parameter('ref', 'true'),
      parameter('other', '{"a": 1}'),
      parameter('word', 'hen'),
    );
    const json =
      '{"text": "12", "count": 12, "on": true, "list": [1, "a"], "maybe": null, "ref": "true", "other": {"a": 1}, "word": "hen"}';
    expect(read('qwen3_coder', [call])).toEqual(['', `f ${json}`]);
  });

  it('may be in Python’s form', () => {
    expect(read('qwen3_coder', [coder(parameter('list', "['it\\'s', True, None]"))])).toEqual([
      '',
      'f {"list": ["it\'s", true, null]}',
    ]);
  });

  it('are strings where they fit no type', () => {
    expect(read('qwen3_coder', [coder(parameter('count', 'many'), parameter('list', '3'))])).toEqual([
      '',
      'f {"count": "many", "list": "3"}',
    ]);
  });

  it('keep their lines and their tags', () => {
    const text = '\n<function=g>\n<b>"x"</b>\n\n';
    expect(read('qwen3_coder', [coder(parameter('text', text))])).toEqual(['', `f {"text": ${JSON.stringify(text)}}`]);
  });

  it('say themselves what they are in DeepSeek’s form', () => {
    const value = (kind: string, text: string): string =>
      `<｜DSML｜parameter name="k" string="${kind}">${text}</｜DSML｜parameter>\n`;
    const call = (body: string): string =>
      `<｜DSML｜function_calls>\n<｜DSML｜invoke name="g">\n${body}</｜DSML｜invoke>\n</｜DSML｜function_calls>`;
    expect(read('deepseek_v32', [call(value('true', '12'))])).toEqual(['', 'g {"k": "12"}']);
    expect(read('deepseek_v32', [call(value('false', '12'))])).toEqual(['', 'g {"k": 12}']);
  });

  it('are whole where a tag that closes the call is missing', () => {
    const open = `<tool_call>\n<function=f>\n${parameter('text', 'a')}`;
    expect(read('qwen3_coder', [`${open}</tool_call>`])).toEqual(['', 'f {"text": "a"}']);
    expect(read('qwen3_coder', [open])).toEqual(['', 'f {"text": "a"']);
  });
});

describe('answers without markers', () => {
  const call = '{"name": "g", "arguments": {"a": 1}}';

  it.each([
    call,
    `\n${call}\n`,
    `\`\`\`json\n${call}\n\`\`\``,
    `\`\`\`\n${call}\n\`\`\``,
    `[${call}]`,
    `<tool_call>${call}</tool_call>`,
  ])('hold a call of the generic convention: %j', (text) => {
    expect(read('generic', [text])).toEqual(['', 'g {"a": 1}']);
  });

  it('hold one after words, on a line of its own', () => {
    expect(read('generic', [`I look:\n${call}\nThen more.`])).toEqual(['I look:Then more.', 'g {"a": 1}']);
  });

  it.each([
    '{"name": "other", "arguments": {}}',
    '{"name": "g"}',
    '{"a": {"name": "g"}}',
    'Say {"name": "g", "arguments": {}}',
    '```json\n{"a": 1}\n```',
  ])('are content where they only look like one: %j', (text) => {
    expect(read('generic', [text])).toEqual([text]);
    expect(read('llama3_json', [text])).toEqual([text]);
  });

  it('are calls in Python only with the names of tools', () => {
    expect(read('pythonic', [`[g(a='it\\'s', b=[1, {'c': None}]), f()]`])).toEqual([
      '',
      'g {"a": "it\'s", "b": [1, {"c": null}]}',
      'f {}',
    ]);
    for (const text of ['[other()]', '[1, 2]', '[g]', 'g()']) expect(read('pythonic', [text])).toEqual([text]);
  });
});

describe('calls of a conversation', () => {
  const traits = {
    tools: true,
    calls: false,
    system: true,
    systemAnywhere: true,
    usersInARow: true,
    argumentsAs: 'object',
    takesBoth: false,
  } as const;
  const calls = [
    { type: 'function' as const, function: { name: 'g', arguments: '{"a": [true, null, {"b": "é\\n"}]}' } },
    { type: 'function' as const, function: { name: 'f', arguments: '' } },
  ];
  const messages = [{ role: 'assistant', content: 'I look. ', tool_calls: calls }];

  it.each(['lfm2', 'granite'])('are written into the content for %s, whose template leaves them out', (name) => {
    const prepare = conventionByName(name, { template: '' }).prepare!;
    const [message] = prepare(messages, [], traits).messages;
    expect(message).not.toHaveProperty('tool_calls');
    const [content, ...found] = read(name, [message!.content!]);
    expect(content).toBe('I look.');
    expect(found.map((call) => JSON.parse((call as string).slice(2)) as unknown)).toEqual([
      { a: [true, null, { b: 'é\n' }] },
      {},
    ]);
    expect(prepare(messages, [], { ...traits, calls: true }).messages).toBe(messages);
  });
});

describe('ids', () => {
  it('are those that the model writes', () => {
    const convention = conventionByName('kimi_k2', { template: '' });
    const text = '<|tool_call_begin|>functions.g:3<|tool_call_argument_begin|>{}<|tool_call_end|>';
    expect(readAnswer(convention, [text], { tools }).calls).toEqual([
      { name: 'g', arguments: '{}', id: 'functions.g:3' },
    ]);
  });
});
