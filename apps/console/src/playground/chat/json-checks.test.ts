import { describe, expect, it } from 'vitest';
import { checkSchema, checkTools, exampleSchema, exampleTools, pretty } from './json-checks.ts';

const tool = (name: unknown, more: object = {}) => ({ type: 'function', function: { name, ...more } });
const faultOf = (checked: { ok: boolean; fault?: string }): string | undefined => checked.fault;

describe('tools', () => {
  it('takes none, the example, and more than one', () => {
    expect(checkTools(' \n')).toEqual({ ok: true, value: [] });
    expect(checkTools(exampleTools)).toMatchObject({ ok: true, value: [{ function: { name: 'get_weather' } }] });
    expect(checkTools(JSON.stringify([tool('a'), tool('b', { parameters: {} })])).ok).toBe(true);
  });
  it.each([
    ['[', 'not JSON'],
    ['{}', 'array'],
    ['[3]', 'Tool 1 must be an object'],
    ['[{"name": "f"}]', 'Tool 1 must be an object with "type": "function"'],
    ['[{"type": "function"}]', 'Tool 1 has no "function"'],
    [JSON.stringify([tool('a'), tool('')]), 'Tool 2 has no "name"'],
    [JSON.stringify([tool('a'), tool('a')]), 'Tool 2 has the same name as another: a'],
    [JSON.stringify([tool('a', { parameters: [] })]), 'Tool 1 (a): "parameters" must be'],
  ])('tells what is wrong with %s', (text, words) => {
    expect(faultOf(checkTools(text))).toContain(words);
  });
});

describe('a schema', () => {
  it('takes none and the example', () => {
    expect(checkSchema('')).toEqual({ ok: true, value: null });
    expect(checkSchema(exampleSchema).ok).toBe(true);
  });
  it.each([
    ['{', 'not JSON'],
    ['[]', 'Enter a JSON Schema'],
    ['null', 'Enter a JSON Schema'],
    ['{"type": "json_schema", "json_schema": {"schema": {}}}', 'only the schema itself'],
  ])('tells what is wrong with %s', (text, words) => {
    expect(faultOf(checkSchema(text))).toContain(words);
  });
});

it('writes JSON in lines, and tells what is none', () => {
  expect(pretty('{"a":[1]}')).toBe('{\n  "a": [\n    1\n  ]\n}');
  expect(pretty('{"a":')).toBeNull();
});
