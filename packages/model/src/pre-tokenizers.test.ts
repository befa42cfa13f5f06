import { describe, expect, it } from 'vitest';
import { withPythonSteps } from './pre-tokenizers.ts';

const mended = (Regex: string): unknown => withPythonSteps({ pre_tokenizer: { type: 'Split', pattern: { Regex } } });
const of = (Regex: string): unknown => ({ pre_tokenizer: { type: 'Split', pattern: { Regex } } });

describe('possessive quantifiers of a pattern', () => {
  it.each([
    [String.raw`\p{L}++|\s*+$`, String.raw`\p{L}+(?!\p{L})|\s*(?!\s)$`],
    [String.raw` ?[^\s\]]?+a`, String.raw` ?(?:[^\s\]]|(?![^\s\]]))a`],
    [String.raw`[\p{Lu}&&[^\p{Han}]]++`, String.raw`[\p{Lu}&&[^\p{Han}]]+(?![\p{Lu}&&[^\p{Han}]])`],
    // No class of Rust's, but one of this library's.
    ['[[]*+x', '[[]*(?![[])x'],
  ])('of %s are look-aheads', (regex, expected) => {
    expect(mended(regex)).toEqual(of(expected));
  });

  it.each(['(a|b)++', '[*+]+', String.raw`\++`, '[a++', '\\', '['.repeat(60_000), '[[]'.repeat(20_000)])(
    'are not seen in %s',
    (regex) => {
      expect(mended(regex)).toEqual(of(regex));
    },
  );

  it('are looked for in patterns of bounded length', () => {
    expect(() => mended('a'.repeat(70_000))).toThrow(/a pattern of 70000 characters/);
  });
});
