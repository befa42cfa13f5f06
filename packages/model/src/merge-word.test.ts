import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WordMerger } from './merge-word.ts';

interface LibraryModel {
  merges: string[][];
  bpe(word: string): string[];
}

const modelOf = (dir: string): LibraryModel => {
  const path = join(import.meta.dirname, '../../..', dir, 'tokenizer.json');
  const hf = new HfTokenizer(JSON.parse(readFileSync(path, 'utf8')) as object, {});
  return hf.model as unknown as LibraryModel;
};

describe('WordMerger', () => {
  it.each(['models/tiny-stories', 'test/golden/fixtures/families/mixtral'])(
    'merges as the library does (%s)',
    (dir) => {
      const model = modelOf(dir);
      const merger = new WordMerger(model.merges);
      // Of merges, so that long ones come about; of letters; and of characters that no merge has.
      const piece = fc.oneof(
        fc.constantFrom(...model.merges.slice(0, 200).map((pair) => pair.join(''))),
        fc.constantFrom(...'enthigoda'),
        fc.string({ unit: 'grapheme', maxLength: 2 }),
      );
      fc.assert(
        fc.property(fc.array(piece, { maxLength: 80 }), (pieces) => {
          const word = pieces.join('');
          expect(merger.merge(word)).toEqual(model.bpe(word));
        }),
        { numRuns: 500 },
      );
    },
  );

  it('takes the lowest rank first, the leftmost of equal ones, and the last of a pair that is there twice', () => {
    const merger = new WordMerger([
      ['b', 'c'],
      ['a', 'a'],
      ['a', 'b'],
    ]);
    expect(merger.merge('abc')).toEqual(['a', 'bc']);
    expect(merger.merge('aaaaa')).toEqual(['aa', 'aa', 'a']);
    expect(merger.merge('')).toEqual([]);
    const twice = new WordMerger([
      ['a', 'b'],
      ['b', 'c'],
      ['a', 'b'],
    ]);
    expect(twice.merge('abc')).toEqual(['a', 'bc']);
  });
});
