import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { GrammarError } from '../grammar/grammar-error.ts';
import type { Tool } from './output-parser.ts';
import { RandomAnswers } from './testing/random-answer.ts';
import { conventionOf, readAnswer } from './testing/read-answer.ts';
import { type Renderer, RENDERERS } from './testing/render-calls.ts';

const text = { type: 'string' };
const number = { type: 'integer' };
const unit = { enum: ['C', 'F'] };
const $defs = { unit, note: { anyOf: [{ type: 'string', maxLength: 4 }, { type: 'null' }] } };
const optionalText = { anyOf: [text, { type: 'null' }] };

/** A tool whose arguments are all required, so that each answer has them. */
const requiring = (properties: Record<string, unknown>, more = {}): Tool['parameters'] => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  ...more,
});

const PARAMETERS: Record<string, Tool['parameters']> = {
  'several types': {
    type: 'object',
    properties: { city: text, days: number, unit, more: { type: 'object' } },
    required: ['city', 'more'],
  },
  'nothing required': { type: 'object', properties: { days: number, unit } },
  nothing: undefined,
  'a text that may be null': requiring({ a: optionalText, b: { type: ['string', 'null'] } }),
  'a text of some length': requiring({ a: { type: 'string', minLength: 2, maxLength: 5 }, b: { minLength: 1 } }),
  'a short text that may be null': requiring({ a: { anyOf: [{ type: 'string', maxLength: 3 }, { type: 'null' }] } }),
  'no type': requiring({ a: {}, b: { description: 'anything' } }),
  'values of several types': requiring({ a: { enum: ['x', 1, null] }, b: { const: 'only' } }),
  'a pattern': requiring({
    a: { type: 'string', pattern: '^[a-f]{2}-\\d+$' },
    b: { type: 'string', pattern: '[xyz]' },
  }),
  'a format': requiring({ a: { type: 'string', format: 'date' }, b: { type: 'string', format: 'ipv4' } }),
  references: requiring({ a: { $ref: '#/$defs/unit' }, b: { $ref: '#/$defs/note' } }, { $defs }),
  'references to other places': requiring({
    a: { type: 'object', properties: { unit }, required: ['unit'] },
    b: { type: 'array', items: { $ref: '#/properties/a/properties/unit' }, minItems: 1, maxItems: 2 },
    c: { $ref: '#/properties/a/properties/unit' },
  }),
  'parts in allOf': { allOf: [requiring({ a: unit }), requiring({ b: number })] },
  'one of several': { type: 'object', anyOf: [requiring({ a: unit }), requiring({ b: number })] },
  'a reference at the root': { $ref: '#/$defs/all', $defs: { all: requiring({ a: unit, b: text }) } },
  'a required argument without a schema': { type: 'object', properties: { a: number }, required: ['a', 'b'] },
  'no mention of an object': { $schema: 'http://json-schema.org/draft-07/schema#', description: 'x' },
};

const ANSWERS = 4;

/** Words that end values, so that random texts hold them now and then. */
const words = [
  '</',
  '</p',
  '\n</parameter>',
  '</parameter>',
  '</arg_value>',
  '</｜DSML｜parameter>',
  '"}',
  'null',
  'é',
];

function forced(renderer: Renderer, parameters: Tool['parameters'], most = 1): RandomAnswers {
  const source = conventionOf(renderer).forcedCalls([{ name: 'f', parameters }], { most });
  return new RandomAnswers(source, renderer.specials, words);
}

describe.each(RENDERERS)('forced calls of $convention', (renderer) => {
  const convention = conventionOf(renderer);

  // Where arguments are one JSON object, the schema's own tests tell the rest.
  const cases = Object.keys(PARAMETERS).filter(
    (name, index) => renderer.isTagged || index < 3 || name.includes('object'),
  );
  it.each(cases)('fit the schema: %s', (name) => {
    const parameters = PARAMETERS[name];
    const ajv = new Ajv({ strict: false });
    addFormats.default(ajv);
    const validate = ajv.compile({ type: 'object', ...parameters });
    const answers = forced(renderer, parameters, 3);
    const tools = [{ name: 'f', parameters }];
    for (let run = 0; run < ANSWERS; run++) {
      const pieces = answers.next();
      const { calls, content, reasoning } = readAnswer(convention, pieces, { tools });
      const written = JSON.stringify(pieces);
      expect(calls.length, written).toBeGreaterThan(0);
      expect([content, reasoning], written).toEqual(['', '']);
      for (const call of calls) {
        expect(call.name).toBe('f');
        const isValid = validate(JSON.parse(call.arguments));
        expect(isValid, `${written}\n${call.arguments}\n${ajv.errorsText(validate.errors)}`).toBe(true);
      }
    }
  });

  it('are several where several may be made', () => {
    const answers = forced(renderer, undefined, 3);
    const tools = [{ name: 'f' }];
    const counts = new Set(
      Array.from({ length: 200 }, () => readAnswer(convention, answers.next(), { tools }).calls.length),
    );
    const isSingle = renderer.isSingle || renderer.convention === 'harmony';
    expect(Math.max(...counts) > 1).toBe(!isSingle);
  });

  it('need a tool', () => {
    expect(() => convention.forcedCalls([], { most: 1 })).toThrow(/no tools/);
  });
});

/** The first parameter's value as each convention with tags writes it, in a call that is otherwise given. */
const tagged: Record<string, (value: string, isText: boolean) => string> = {
  qwen3_coder: (value) => `<tool_call>\n<function=f>\n<parameter=a>\n${value}\n</parameter>\n</function>\n</tool_call>`,
  seed_oss: (value) =>
    `<seed:tool_call>\n<function=f>\n<parameter=a>${value}</parameter>\n</function>\n</seed:tool_call>`,
  glm45: (value) => `<tool_call>f<arg_key>a</arg_key><arg_value>${value}</arg_value></tool_call>`,
  minimax_m2: (value) =>
    `<minimax:tool_call>\n<invoke name="f">\n<parameter name="a">${value}</parameter>\n</invoke>\n</minimax:tool_call>`,
  deepseek_v32: (value, isText) =>
    `<｜DSML｜function_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="a" string="${isText}">${value}</｜DSML｜parameter>\n` +
    '</｜DSML｜invoke>\n</｜DSML｜function_calls>',
};

describe.each(Object.keys(tagged))('a value between tags of %s', (name) => {
  const renderer = RENDERERS.find((one) => one.convention === name)!;
  const convention = conventionOf(renderer);
  const write = tagged[name]!;

  /** What is read from a value; undefined if the grammar does not allow it. */
  function read(schema: unknown, value: string, isText = true): unknown {
    const parameters = requiring({ a: schema }, { $defs });
    const written = write(value, isText);
    if (!forced(renderer, parameters).accepts(written)) return undefined;
    const { calls } = readAnswer(convention, [written], { tools: [{ name: 'f', parameters }] });
    return (JSON.parse(calls[0]!.arguments) as { a: unknown }).a;
  }

  it('is a plain text where a text may stand', () => {
    for (const schema of [text, optionalText, {}, true, { type: ['integer', 'string'] }])
      expect(read(schema, 'You & "I"'), JSON.stringify(schema)).toBe('You & "I"');
    const short = { anyOf: [{ type: 'string', maxLength: 3 }, { type: 'null' }] };
    expect(read(short, 'You')).toBe('You');
    expect(read(short, 'Your')).toBeUndefined();
    expect(read(short, '"You"')).toBeUndefined();
    expect(read({ enum: ['x', 1] }, 'x')).toBe('x');
    expect(read({ enum: ['x', 1] }, '"x"')).toBeUndefined();
  });

  it('is JSON where it is no text', () => {
    expect(read(optionalText, 'null', false)).toBe(null);
    expect(read({ enum: ['x', 1] }, '1', false)).toBe(1);
    expect(read({ type: ['integer', 'string'] }, '12', false)).toBe(12);
    expect(read({ type: 'array', items: { type: 'string' } }, '["a"]', false)).toEqual(['a']);
    expect(read({ type: 'string', nullable: true, maxLength: 1 }, 'null', false)).toBe(null);
  });

  it('keeps to what its schema says of texts', () => {
    expect(read({ $ref: '#/$defs/unit' }, 'C')).toBe('C');
    expect(read({ $ref: '#/$defs/unit' }, 'c')).toBeUndefined();
    expect(read({ type: 'string', pattern: '^a+$' }, 'aa')).toBe('aa');
    expect(read({ type: 'string', pattern: '^a+$' }, 'ab')).toBeUndefined();
    expect(read({ type: 'string', format: 'date' }, '2026-11-30')).toBe('2026-11-30');
    expect(read({ type: 'string', format: 'date' }, '2026-13-30')).toBeUndefined();
    const long = `<b>${'é'.repeat(8_000)}</`;
    expect(read({ type: 'string', minLength: 1 }, long)).toBe(long);
    expect(read({ type: 'string', minLength: 1 }, '')).toBeUndefined();
    expect(read({ type: 'string', minLength: 3, maxLength: 5 }, 'a<bé<')).toBe('a<bé<');
    expect(read({ type: 'string', minLength: 3, maxLength: 5 }, 'a<')).toBeUndefined();
    expect(read({ type: 'string', minLength: 3, maxLength: 5 }, 'a\nb\n\n')).toBe('a\nb\n\n');
    expect(read({ type: 'string', maxLength: 8_192 }, 'a'.repeat(8_192))).toHaveLength(8_192);
    expect(read({ type: 'string', maxLength: 8_192 }, 'a'.repeat(8_193))).toBeUndefined();
    expect(read({ type: 'string', maxLength: 1_024 }, '<'.repeat(1_024))).toHaveLength(1_024);
  });

  it('may have a bound in many arguments', () => {
    const long = { type: 'string', maxLength: 5_000 };
    expect(() => forced(renderer, requiring({ a: long, b: long, c: long, d: long, e: long }))).not.toThrow();
  });

  it.each([
    ['format', { type: 'string', format: 'phone' }],
    ['pattern', { type: 'string', pattern: '^<b>$' }],
    ['pattern', { type: 'string', pattern: '(?=a)' }],
    ['not', { not: {} }],
  ])('is refused by name where “%s” cannot be kept to', (keyword, schema) => {
    expect(() => read(schema, 'x')).toThrow(new RegExp(`“${keyword}`));
  });

  it.each(['not', 'if', 'minProperties'])('“%s” of all arguments is refused by name', (keyword) => {
    const parameters = { type: 'object', [keyword]: {} };
    expect(() => forced(renderer, parameters)).toThrow(GrammarError);
    expect(() => forced(renderer, parameters)).toThrow(`“${keyword}”`);
  });
});

it('calls of Kimi are counted by the model', () => {
  const kimi = RENDERERS.find(({ convention }) => convention === 'kimi_k2')!;
  const answers = forced(kimi, undefined, 2);
  const two = kimi.render([
    { name: 'f', arguments: '{}' },
    { name: 'f', arguments: '{}' },
  ]);
  expect(answers.accepts(two)).toBe(true);
  expect(answers.accepts(two.replace('f:1', 'f:12'))).toBe(true);
  expect(answers.accepts(two.replace('f:1', 'f:x'))).toBe(false);
});

it('leaves a schema that is too deep to the compiler', () => {
  let deep: object = { $ref: '#' };
  for (let depth = 0; depth < 100_000; depth++) deep = { items: deep };
  const [renderer] = RENDERERS.filter(({ convention }) => convention === 'qwen3_coder');
  const tool = { name: 'f', parameters: requiring({ a: deep }) };
  expect(() => conventionOf(renderer!).forcedCalls([tool], { most: 1 })).not.toThrow();
});

it('a tool’s schema may not be a maze', () => {
  const anyOf = Array.from({ length: 20 }, () => ({ $ref: '#' }));
  const renderer = RENDERERS.find((one) => one.convention === 'qwen3_coder')!;
  expect(() => forced(renderer, { anyOf })).toThrow(/“(anyOf|\$ref)”/);
});
