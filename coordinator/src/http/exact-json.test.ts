import { expect, it } from 'vitest';
import { exactTextOf, noteExactTexts } from './exact-json.ts';

function schemasOf(json: string): (string | undefined)[] {
  const body = JSON.parse(json) as { tools: { function: { parameters: object } }[] };
  noteExactTexts(json, body);
  return body.tools.map((tool) => exactTextOf(tool.function.parameters));
}

const bodyOf = (...schemas: string[]): string =>
  `{"tools": [${schemas.map((schema) => `{"function" :{"name":"f","parameters" : ${schema}}}`).join(' , ')}], "n": 1.0}`;

it.each([
  '{"type": "object", "properties": {"x": {"minimum": 1.0}}}',
  '{"minimum":-2e3}',
  '{"enum": [9007199254740993, "a"]}',
  '{"properties": {"b": {}, "10": {}, "9": {}}}',
  String.raw`{"a\"}": "\\", "b": [[], {}, [1.50]]}`,
])('keeps the text of %s, of which JavaScript loses something', (schema) => {
  expect(schemasOf(bodyOf('{"type":"object"}', schema, '{}'))).toEqual([undefined, schema, undefined]);
});

it('keeps nothing of schemas of which nothing is lost, whatever their texts say', () => {
  const plain = String.raw`{"properties": {"x": {"minimum": 1, "default": 0.5, "description": "1.0, 2e5 and \"7\": 12345678901234567890"}}}`;
  expect(schemasOf(bodyOf(plain))).toEqual([undefined]);
});

it('keeps the last of two schemas under one key, which is the one that is parsed', () => {
  const body = '{"tools":[{"function":{"parameters":{"a":1.0},"parameters":{"b":2.0}}}]}';
  expect(schemasOf(body)).toEqual(['{"b":2.0}']);
});
