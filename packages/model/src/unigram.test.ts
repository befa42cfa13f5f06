import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Charsmap } from './precompiled.ts';
import { Tokenizer } from './tokenizer.ts';
import { Unigram } from './unigram.ts';

const dir = join(import.meta.dirname, '../../../test/golden/fixtures/encoders/nomic-bert-moe');
const json = JSON.parse(readFileSync(join(dir, 'tokenizer.json'), 'utf8')) as {
  model: object;
  normalizer: { precompiled_charsmap: string };
};

/** What Python's `tokenizers` makes of texts is in test/golden. */
describe('Unigram', () => {
  const vocab: [string, number][] = [
    ['?', 0],
    ['a', -2],
    ['b', -2],
    ['ab', -3],
    ['abab', -7],
  ];
  const unigram = new Unigram({ type: 'Unigram', unk_id: 0, vocab, byte_fallback: false });

  it('cuts a word where the scores are highest in all, and joins unknown characters', () => {
    expect(unigram.cut('abab')).toEqual(['ab', 'ab']);
    expect(unigram.cut('aab')).toEqual(['a', 'ab']);
    expect(unigram.cut('日\u{1f600}aé')).toEqual(['日\u{1f600}', 'a', 'é']);
    expect(unigram.cut('')).toEqual([]);
  });
});

describe('a table of replacements', () => {
  const table = new Charsmap(json.normalizer.precompiled_charsmap);

  it('takes a time in proportion to the text, whatever it consists of', () => {
    // The runtime takes the square to find all graphemes of a text at once: minutes for this one.
    expect(table.normalize('日'.repeat(400_000))).toHaveLength(400_000);
  });

  it.each([
    ['no Base64', '!'],
    ['too short', btoa('abc')],
    ['a trie that ends behind it', btoa('\u0008\0\0\0\0\0\0\0')],
  ])('is refused where it is %s', (_, precompiled_charsmap) => {
    const changed = { ...json, normalizer: { type: 'Precompiled', precompiled_charsmap } };
    expect(() => new Tokenizer(changed, {})).toThrow(/precompiled_charsmap/);
  });

  it('is refused where it is missing, and so is a model with byte fallback or without its unknown token', () => {
    expect(() => new Tokenizer({ ...json, normalizer: { type: 'Precompiled' } }, {})).toThrow(/precompiled_charsmap/);
    expect(() => new Tokenizer({ ...json, model: { ...json.model, byte_fallback: true } }, {})).toThrow(
      /byte_fallback/,
    );
    expect(() => new Tokenizer({ ...json, model: { ...json.model, unk_id: 9999 } }, {})).toThrow(/unk_id/);
  });
});
