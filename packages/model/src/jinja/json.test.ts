import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJsonValue } from './json.ts';
import { toJson } from './text.ts';

describe('parseJsonValue', () => {
  it('reads any JSON as it is written, whatever the spaces', () => {
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(0, 2), (json, indent) => {
        const text = JSON.stringify(JSON.parse(json), null, indent);
        expect(JSON.parse(toJson(parseJsonValue(text)))).toEqual(JSON.parse(text));
      }),
    );
  });

  it('keeps what JavaScript loses: floats, large ints and the order of keys', () => {
    const text = '{"10": 1.0, "2": [12345678901234567890, -0.0, 1e+22], "__proto__": {"a": "}\\"]"}}';
    expect(toJson(parseJsonValue(text))).toBe(text);
  });

  it.each(['', '{', '[1,]', '{"a" 1}', '01', 'NaN', "'a'"])('refuses %s', (text) => {
    expect(() => parseJsonValue(text)).toThrow(SyntaxError);
  });
});
