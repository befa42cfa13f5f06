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

  it('takes white space of any length around and between', () => {
    const spaces = ' \n\t\r'.repeat(2 ** 16);
    // As many as a request may have. A time that is their square would be minutes.
    expect(toJson(parseJsonValue(`${spaces}{${spaces}"a"${spaces}:${spaces}[1,${spaces}2]${spaces}}`))).toBe(
      '{"a": [1, 2]}',
    );
    expect(toJson(parseJsonValue(`{}${' '.repeat(2 ** 20)}`))).toBe('{}');
  });

  it.each(['', '{', '[1,]', '{"a" 1}', '01', 'NaN', "'a'"])('refuses %s', (text) => {
    expect(() => parseJsonValue(text)).toThrow(SyntaxError);
  });
});
