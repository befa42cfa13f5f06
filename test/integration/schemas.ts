import type { JsonSchema } from '../../coordinator/src/grammar/index.ts';
import { createRng, type Rng } from '@shoal/model';

const object = (properties: Record<string, unknown>, required = Object.keys(properties)): JsonSchema => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});

const PATTERNS = [
  '^[a-z]{3,8}$',
  '^[A-Z][a-z]+( [A-Z][a-z]+)?$',
  '^\\d{3}-\\d{4}$',
  '^(\\([0-9]{3}\\))?[0-9]{3}-[0-9]{4}$',
  'ab+c',
  '^x',
  'y$',
  '^a|b$',
  '^(a|b|cd){2,4}$',
  '^[^"\\\\]{1,5}$',
  '^["\\\\/\\t]{1,4}$',
  '^.{2,6}$',
  '^\\w+@\\w+\\.(com|org)$',
  '^[\\u00e0-\\u00ff\\u4e00-\\u4eff]{1,3}$',
  '^(?:#[0-9a-fA-F]{6})$',
  '^(?<year>\\d{4})-[01]\\d$',
  '^\\s?[^\\s]{1,4}\\s?$',
  '^[\\x20-\\x7e]{0,10}$',
  '^$',
  '^[😀-😎]{1,2}$',
];

const FORMATS = (
  'date time date-time duration email hostname ipv4 ipv6 uri uuid uri-reference iso-time iso-date-time json-pointer byte ' +
  'password url'
).split(' ');

const BOUNDS: JsonSchema[] = [
  ...[
    { minimum: 0 },
    { maximum: 0 },
    { minimum: 3, maximum: 77 },
    { minimum: -5, maximum: 5 },
    { exclusiveMinimum: 0, exclusiveMaximum: 2 },
    { minimum: 99, maximum: 101 },
    { minimum: -1234, maximum: -7 },
    { minimum: 1000000 },
    { maximum: -1000000 },
    { exclusiveMinimum: -1, maximum: 1000 },
    { minimum: 5, exclusiveMinimum: 5, maximum: 6 },
    { minimum: 9007199254740000 },
  ].flatMap((bounds) => [
    { type: 'integer', ...bounds },
    { type: 'number', ...bounds },
  ]),
  { type: 'number', minimum: 0.1, maximum: 0.3 },
  { type: 'number', exclusiveMinimum: 0.1, exclusiveMaximum: 0.100001 },
  { type: 'number', minimum: -0.5, maximum: 1e-7 },
  { type: 'number', exclusiveMinimum: 1.5 },
  { type: 'number', maximum: 2.225073858507201 },
  { type: 'integer', minimum: 1.5, maximum: 3.5 },
  { type: 'integer', multipleOf: 5, minimum: -12, maximum: 100 },
  { type: 'integer', format: 'int32' },
  { type: 'integer', format: 'int32', minimum: 2147483600 },
  { type: 'number', minimum: 4, exclusiveMaximum: 5, allOf: [{ maximum: 4.5 }] },
];

const TREE: JsonSchema = {
  $defs: {
    node: object({
      value: { type: 'integer', minimum: 0, maximum: 9 },
      children: { type: 'array', items: { $ref: '#/$defs/node' }, maxItems: 2 },
    }),
  },
  $ref: '#/$defs/node',
};

/** Shapes that people's programs send: pydantic's, zod's, OpenAI's examples, and those that are easily got wrong. */
export const WRITTEN_SCHEMAS: JsonSchema[] = [
  true,
  {},
  { type: 'object' },
  { type: 'array' },
  { type: 'string' },
  { type: 'number' },
  { type: 'integer' },
  { type: 'boolean' },
  { type: 'null' },
  { type: ['string', 'null'] },
  { type: ['integer', 'boolean', 'null'] },
  { type: 'string', nullable: true },
  { properties: { a: { type: 'integer' } } },
  { items: { type: 'boolean' }, maxItems: 3 },
  { const: 'x' },
  { const: null },
  { const: { b: [1, 2.5, 'é"\\\n'], a: {} } },
  { enum: ['red', 'green', 'blue'] },
  { enum: [1, 'one', null, true, [1], { one: 1 }] },
  { type: 'string', enum: ['a', 'b', 1] },
  { type: 'integer', enum: [1, 2, 3, 2.5] },
  { enum: ['a', 'b', 'c'], allOf: [{ enum: ['b', 'c', 'd'] }] },
  { enum: ['say "hi"', 'tab\there', 'back\\slash', '\u2028', '😀'] },
  object({ name: { type: 'string' }, age: { type: 'integer', minimum: 0, maximum: 150 } }),
  object({ a: { type: 'string' }, b: { type: 'string' } }, []),
  object({ a: { type: 'string' }, b: { type: 'integer' }, c: { type: 'null' } }, ['b']),
  object({}),
  { type: 'object', properties: { a: { type: 'integer' } }, required: ['a', 'b'] },
  { type: 'object', properties: { a: { type: 'integer' } }, additionalProperties: true },
  {
    type: 'object',
    properties: { a: { type: 'integer' }, ab: { type: 'string' } },
    additionalProperties: { type: 'null' },
  },
  { type: 'object', additionalProperties: { type: 'integer' } },
  { type: 'object', additionalProperties: { type: 'integer' }, minProperties: 1, maxProperties: 3 },
  { type: 'object', properties: { a: {}, b: {}, c: {} }, minProperties: 2, additionalProperties: false },
  { type: 'object', properties: { a: {}, b: {}, c: {} }, maxProperties: 1, additionalProperties: false },
  {
    type: 'object',
    properties: { a: {}, b: {} },
    required: ['a'],
    minProperties: 2,
    maxProperties: 2,
    unevaluatedProperties: false,
  },
  { type: 'object', patternProperties: { '^x-[a-z]+$': { type: 'boolean' } }, additionalProperties: false },
  { type: 'object', propertyNames: { pattern: '^[a-z]{1,4}$' }, additionalProperties: { type: 'integer' } },
  { type: 'object', propertyNames: { enum: ['a', 'b'] }, maxProperties: 2 },
  object({ 'quote"d': { type: 'integer' }, 'new\nline': { type: 'integer' }, é: { type: 'integer' }, __proto__x: {} }),
  { type: 'array', items: { type: 'integer' }, minItems: 2, maxItems: 4 },
  { type: 'array', items: { type: 'string', maxLength: 5 }, minItems: 1 },
  { type: 'array', items: false },
  { type: 'array', maxItems: 0 },
  { type: 'array', uniqueItems: true, maxItems: 1 },
  { type: 'array', prefixItems: [{ type: 'string' }, { type: 'integer' }], items: false, minItems: 2 },
  { type: 'array', prefixItems: [{ type: 'string' }, { type: 'integer' }], minItems: 1 },
  { type: 'array', prefixItems: [{ type: 'string' }], items: { type: 'boolean' }, minItems: 3, maxItems: 4 },
  { type: 'array', prefixItems: [{ const: 1 }], minItems: 2, maxItems: 3 },
  { type: 'array', items: { type: 'array', items: { type: 'number' }, minItems: 2, maxItems: 2 }, maxItems: 3 },
  { anyOf: [{ type: 'string' }, { type: 'integer' }] },
  { type: 'string', anyOf: [{ const: 'a' }, { maxLength: 2 }] },
  { anyOf: [object({ a: { type: 'integer' } }), object({ b: { type: 'string' } }), { type: 'null' }] },
  {
    type: 'object',
    properties: { a: { type: 'integer' } },
    required: ['a'],
    anyOf: [{ required: ['b'] }, { required: ['c'] }],
  },
  {
    anyOf: [{ type: 'integer' }, { type: 'string' }],
    allOf: [{ anyOf: [{ minimum: 5 }, { type: 'string', minLength: 2 }] }],
  },
  { oneOf: [{ type: 'string' }, { type: 'integer' }, { type: 'null' }] },
  {
    oneOf: [
      object({ kind: { const: 'cat' }, lives: { type: 'integer', minimum: 0, maximum: 9 } }),
      object({ kind: { const: 'dog' }, name: { type: 'string' } }),
      object({ kind: { enum: ['fish', 'bird'] } }),
    ],
  },
  { oneOf: [{ enum: [1, 2] }, { const: 3 }] },
  { oneOf: [{ const: 'auto' }, { type: 'integer', minimum: 1 }, { enum: [null, false] }] },
  { allOf: [object({ a: { type: 'integer' } }, ['a'])] },
  {
    allOf: [
      { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] },
      { type: 'object', properties: { b: { type: 'string' }, a: { minimum: 10 } }, required: ['b'] },
    ],
  },
  { allOf: [{ type: ['integer', 'string'] }, { type: ['number', 'null'] }, { maximum: 3 }] },
  { $ref: '#/$defs/a', $defs: { a: { type: 'integer', minimum: 1 } } },
  { $ref: '#/$defs/a~1b%20c', $defs: { 'a/b c': { type: 'boolean' } } },
  { $ref: '#/definitions/a', maximum: 10, definitions: { a: { type: 'integer', minimum: 8 } } },
  TREE,
  object({ value: { type: 'integer' }, next: { anyOf: [{ $ref: '#' }, { type: 'null' }] } }),
  {
    $defs: {
      a: object({ b: { anyOf: [{ $ref: '#/$defs/b' }, { type: 'null' }] } }),
      b: object({ a: { $ref: '#/$defs/a' } }),
    },
    $ref: '#/$defs/a',
  },
  object({
    steps: { type: 'array', items: object({ explanation: { type: 'string' }, output: { type: 'string' } }) },
    final_answer: { type: 'string' },
  }),
  object({
    location: { type: 'string', description: 'A city', examples: ['Paris'] },
    unit: { type: 'string', enum: ['C', 'F'], default: 'C' },
  }),
  object({ a: object({ b: object({ c: object({ d: { type: 'array', items: object({ e: { type: 'null' } }) } }) }) }) }),
  object({ tags: { type: 'array', items: { type: 'string', pattern: '^[a-z-]+$' }, minItems: 1, maxItems: 3 } }),
  { type: 'string', minLength: 3, maxLength: 6 },
  { type: 'string', minLength: 20 },
  { type: 'string', maxLength: 300 },
  { type: 'string', maxLength: 0 },
  { type: 'string', pattern: '^[a-z]+$', maxLength: 4 },
  { type: 'string', pattern: '^ab[0-9]*c$', minLength: 5, maxLength: 8 },
  { type: 'string', pattern: '^[a-z]{2,3}$', minLength: 1, maxLength: 5 },
  {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://example.org/a',
    $comment: 'c',
    type: 'integer',
    readOnly: true,
    deprecated: true,
  },
  object(Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`field_${index}`, { type: 'boolean' }])), []),
  ...PATTERNS.map((pattern): JsonSchema => ({ type: 'string', pattern })),
  ...FORMATS.map((format): JsonSchema => ({ type: 'string', format })),
  ...BOUNDS,
];

/** Schemas made of the above, nested at random, the same each time. */
function randomSchema(rng: Rng, depth: number): JsonSchema {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
  const below = (): JsonSchema => randomSchema(rng, depth - 1);
  const kind = Math.floor(rng() * (depth > 0 ? 10 : 5));
  if (kind === 0) return pick(BOUNDS);
  if (kind === 1) return { type: 'string', pattern: pick(PATTERNS) };
  if (kind === 2) return { type: 'string', format: pick(FORMATS) };
  if (kind === 3) return pick<JsonSchema>([{ type: 'string' }, { type: 'boolean' }, { type: ['number', 'null'] }]);
  if (kind === 4) return { enum: [pick(['a', 'b\n']), Math.floor(rng() * 100), null] };
  if (kind <= 7) {
    const names = ['id', 'name', 'x', 'due date', 'naïve', 'tags'].filter(() => rng() < 0.5);
    const properties = Object.fromEntries(names.map((name) => [name, below()]));
    const extra = rng() < 0.2 ? { additionalProperties: below() } : rng() < 0.5 ? { additionalProperties: false } : {};
    return { type: 'object', properties, required: names.filter(() => rng() < 0.6), ...extra };
  }
  if (kind === 8) {
    const least = Math.floor(rng() * 3);
    return { type: 'array', items: below(), minItems: least, maxItems: least + Math.floor(rng() * 3) };
  }
  return { anyOf: [below(), below(), { type: 'null' }] };
}

/** 300 schemas whose outputs must validate. */
export const SCHEMAS: readonly JsonSchema[] = withRandom(300);

function withRandom(count: number): JsonSchema[] {
  const rng = createRng(12);
  const schemas = [...WRITTEN_SCHEMAS];
  while (schemas.length < count) schemas.push(object({ root: randomSchema(rng, 3) }));
  return schemas;
}
