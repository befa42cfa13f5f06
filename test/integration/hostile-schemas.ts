import type { JsonSchema } from '../../coordinator/src/grammar/index.ts';

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));
const string = (more: object): JsonSchema => ({ type: 'string', ...more });
const array = (more: object): JsonSchema => ({ type: 'array', ...more });
const pattern = (value: string): JsonSchema => string({ pattern: value });

function nested(depth: number, wrap: (inner: JsonSchema) => JsonSchema): JsonSchema {
  let schema: JsonSchema = { type: 'integer' };
  for (let level = 0; level < depth; level++) schema = wrap(schema);
  return schema;
}

/** Doubles with each definition. */
const doubling = (count: number): JsonSchema => ({
  $defs: Object.fromEntries(
    times(count, (index) => [
      `d${index}`,
      index === 0
        ? { type: 'string' }
        : {
            anyOf: [
              { allOf: [{ $ref: `#/$defs/d${index - 1}` }, { minLength: index }] },
              { allOf: [{ $ref: `#/$defs/d${index - 1}` }, { maxLength: 9 + index }] },
            ],
          },
    ]),
  ),
  $ref: `#/$defs/d${count - 1}`,
});

/** One schema that each of many options refers to. */
const inMany = (shared: JsonSchema, count: number): JsonSchema => ({
  $defs: { shared, ['a'.repeat(4_000)]: { type: 'string' } },
  anyOf: times(count, (index) => ({ $ref: '#/$defs/shared', title: `${index}` })),
});

/** Each with what the refusal must name. */
export const HOSTILE_SCHEMAS: readonly (readonly [name: string, schema: JsonSchema, message: string])[] = [
  ['not', { not: { type: 'string' } }, '“not” at #'],
  ['if', { type: 'object', properties: { a: { if: { const: 1 }, else: { const: 2 } } } }, '“if” at #/properties/a'],
  ['else', { else: true }, '“else” at #'],
  ['uniqueItems', array({ uniqueItems: true }), '“uniqueItems” at #'],
  ['contains', array({ contains: { const: 1 } }), '“contains” at #'],
  ['minContains', array({ minContains: 1 }), '“minContains” at #'],
  ['multipleOf', { type: 'number', multipleOf: 0.1 }, '“multipleOf” at #'],
  ['multipleOf without bounds', { type: 'integer', multipleOf: 7 }, '“multipleOf” at #'],
  ['dependentRequired', { type: 'object', dependentRequired: { a: ['b'] } }, '“dependentRequired” at #'],
  ['dependentSchemas', { type: 'object', dependentSchemas: {} }, '“dependentSchemas” at #'],
  ['two patternProperties', { patternProperties: { '^a': true, '^b': true } }, '“patternProperties” at #'],
  [
    'patternProperties beside properties',
    { properties: { a: true }, patternProperties: { '^a': false } },
    '“patternProperties” at #',
  ],
  [
    'propertyNames beside properties',
    { properties: { a: true }, propertyNames: { maxLength: 1 } },
    '“propertyNames” at #',
  ],
  ['remote $ref', { $ref: 'https://example.org/schema.json' }, '“$ref” at #'],
  ['$ref to a file', { $ref: 'other.json#/a' }, '“$ref” at #'],
  ['$ref to nothing', { $ref: '#/$defs/missing' }, '“#/$defs/missing”'],
  ['$ref to what is no schema', { $ref: '#/$defs', $defs: 5 }, '#/$defs must be an object'],
  ['$ref to a prototype', { $ref: '#/constructor' }, '“#/constructor”'],
  ['$dynamicRef', { $dynamicRef: '#a' }, '“$dynamicRef” at #'],
  ['$anchor', { $defs: { a: { $anchor: 'x', type: 'integer' } }, $ref: '#/$defs/a' }, '“$anchor” at #/$defs/a'],
  ['unknown format', string({ format: 'phone' }), '“format: phone” at #'],
  ['format and length', string({ format: 'date', maxLength: 3 }), '“format” at #'],
  ['pattern and format', string({ format: 'date', pattern: '^a$' }), 'beside “pattern”'],
  ['two patterns', { allOf: [pattern('^a'), pattern('b$')] }, '“pattern” at #/allOf/1'],
  ['pattern and length', string({ pattern: '^a+b+$', maxLength: 5 }), 'minLength and maxLength'],
  ['lookahead', pattern('^(?=a)b'), 'lookaround'],
  ['lookbehind', pattern('(?<=a)b'), 'lookaround'],
  ['backreference', pattern('^(a)\\1$'), '“\\1”'],
  ['word boundary', pattern('\\bword\\b'), '“\\b”'],
  ['properties of characters', pattern('\\p{L}'), '“\\p”'],
  ['anchor within a pattern', pattern('a^b'), '“^” in the middle'],
  ['unclosed group', pattern('(a'), 'unmatched “(”'],
  ['unclosed set', pattern('[a'), 'ends too early'],
  ['oneOf that overlaps', { oneOf: [{ type: 'string' }, { type: 'string', maxLength: 3 }] }, '“oneOf” at #'],
  [
    'oneOf of open objects',
    {
      oneOf: [
        { type: 'object', properties: { a: true } },
        { type: 'object', properties: { b: true } },
      ],
    },
    '“oneOf” at #',
  ],
  ['enum beside a bound', { enum: [1, 2], minimum: 2 }, '“minimum” at #'],
  ['nothing fits: false', false, 'no finite text'],
  ['nothing fits: types', { type: 'string', allOf: [{ type: 'integer' }] }, 'no finite text'],
  ['nothing fits: bounds', { type: 'integer', minimum: 5, maximum: 4 }, 'no finite text'],
  ['nothing fits: endless', { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, 'no finite text'],
  ['itself', { anyOf: [{ $ref: '#' }, { type: 'string' }] }, '“$ref” at #'],
  ['wrong type', { type: 'text' }, '“type” at #'],
  ['wrong minLength', string({ minLength: -1 }), '“minLength” at #'],
  ['wrong required', { type: 'object', required: 'a' }, '“required” at #'],
  ['wrong properties', { type: 'object', properties: [] }, '“properties” at #'],
  ['endless minLength', string({ minLength: 1e9 }), '“minLength” at #'],
  ['endless maxItems', array({ items: { type: 'string' }, maxItems: 1e12 }), '“maxItems” at #'],
  ['arrays of optional arrays', pattern('^((((a?){99}){99}){99}){99}$'), 'too many ways'],
  ['a long repetition', pattern('^a{999999}$'), 'more than'],
  ['a long pattern', pattern('a'.repeat(9_000)), 'more than 8192 characters'],
  ['repetition of nothing', pattern('^(){999999}$'), 'more than'],
  ['repetitions in each other', pattern(`^${'('.repeat(40)}a?${'){40}'.repeat(40)}$`), 'too many ways'],
  ['deep groups', pattern(`${'('.repeat(4_000)}a${')'.repeat(4_000)}`), 'groups in each other'],
  ['a large enum', { enum: times(20_000, (index) => `value ${index}`) }, 'larger than'],
  [
    'many properties',
    { type: 'object', properties: Object.fromEntries(times(6_000, (index) => [`p${index}`, true])) },
    'more than',
  ],
  [
    'counted properties',
    {
      type: 'object',
      properties: Object.fromEntries(times(200, (index) => [`p${index}`, true])),
      minProperties: 100,
      additionalProperties: false,
    },
    'more than',
  ],
  ['deep nesting', nested(5_000, (items) => array({ items })), 'larger than'],
  [
    'combinations of anyOf',
    {
      allOf: times(16, (index) => ({ anyOf: times(8, (option) => ({ title: `${index} ${option}`, type: 'string' })) })),
    },
    'more than',
  ],
  ['doubling definitions', doubling(24), 'more than'],
  [
    'many properties in many combinations',
    {
      properties: Object.fromEntries(times(3_000, (index) => [`p${index}`, true])),
      anyOf: times(1_000, (index) => ({ required: [`p${index}`] })),
    },
    'more than',
  ],
  ['oneOf of many', { oneOf: times(1_000, (index) => ({ const: index })) }, 'more than'],
  [
    'a long pattern in many combinations',
    { pattern: 'a'.repeat(8_000), anyOf: times(1_000, (index) => ({ title: `${index}` })) },
    'more than',
  ],
  [
    'an enum in many options',
    {
      $defs: { E: { enum: times(9_000, (index) => index) }, F: { enum: times(9_000, (index) => index) } },
      oneOf: times(100, () => ({ allOf: [{ $ref: '#/$defs/E' }, { $ref: '#/$defs/F' }] })),
    },
    'more than',
  ],
  [
    'a long required in many options',
    {
      $defs: { long: { required: times(15_000, (index) => `p${index}`) } },
      oneOf: times(100, (index) => (index < 50 ? { $ref: '#/$defs/long' } : { type: 'object', required: ['a'] })),
    },
    'more than',
  ],
  ['a long text in many options', inMany({ enum: ['x'.repeat(100_000)] }, 2_000), 'more than'],
  ['a long $ref in many options', inMany({ $ref: `#/$defs/${'a'.repeat(4_000)}` }, 2_000), 'more than'],
  ['a long type in many options', inMany({ type: times(10_000, () => 'string') }, 2_000), '“type” at #/$defs/shared'],
  ['a long allOf in many options', inMany({ allOf: times(12_000, () => true) }, 2_000), 'more than'],
  [
    'many options beside many schemas',
    { allOf: times(10_000, () => ({})), anyOf: times(10_000, () => ({})) },
    'more than',
  ],
  [
    'many bounds beyond what doubles tell apart',
    { anyOf: times(2_500, (index) => ({ type: 'number', exclusiveMinimum: 1e15 + index, maximum: 1e16 })) },
    'more than',
  ],
  [
    'multiples of equal doubles',
    { type: 'integer', multipleOf: 2, minimum: 1e300, maximum: 1e300 },
    '“multipleOf” at #',
  ],
  [
    'many multipleOf',
    { type: 'integer', minimum: 0, maximum: 900, allOf: times(5_000, () => ({ multipleOf: 2 })) },
    'more than',
  ],
  [
    'many long names beside others',
    {
      properties: Object.fromEntries(times(1_800, (index) => [`${index}${'x'.repeat(110)}`, true])),
      additionalProperties: true,
    },
    'more than',
  ],
  [
    'many patterns of long classes',
    { properties: Object.fromEntries(times(12, (index) => [`p${index}`, pattern('\\W'.repeat(4_000))])) },
    'more than',
  ],
  ['a schema of a megabyte', { description: 'x'.repeat(1_000_000) }, 'larger than'],
];
