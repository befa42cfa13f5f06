import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import * as fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { BpeBudget, TokenBound, TooManyTokensError, type WordCache } from './bpe-bounds.ts';
import { WordMerger } from './merge-word.ts';
import { SENTENCE_PIECE_CONFIG, sentencePieceJson } from './testing/sentence-piece.ts';
import { Tokenizer } from './tokenizer.ts';

const root = join(import.meta.dirname, '../../..');
const readJson = (dir: string, name: string) =>
  JSON.parse(readFileSync(join(root, dir, name), 'utf8')) as Record<string, unknown>;
const load = (dir: string, change: Record<string, unknown> = {}): Tokenizer =>
  new Tokenizer({ ...readJson(dir, 'tokenizer.json'), ...change }, readJson(dir, 'tokenizer_config.json'));
const tiny = load('models/tiny-stories');

function metaspace(): Tokenizer {
  const change = { normalizer: null, pre_tokenizer: { type: 'Metaspace', prepend_scheme: 'always' } };
  return new Tokenizer({ ...sentencePieceJson, ...change }, SENTENCE_PIECE_CONFIG);
}

function takingSpace(): Tokenizer {
  const token = { id: 0, content: '<|endoftext|>', special: true, normalized: false, lstrip: true, rstrip: true };
  return load('models/tiny-stories', { added_tokens: [token] });
}

describe('Tokenizer.encode with a limit', () => {
  it.each<[string, Tokenizer]>([
    ['byte-level', tiny],
    ['byte-level after NFC', load('models/tiny-stories', { normalizer: { type: 'NFC' } })],
    ['SentencePiece', new Tokenizer(sentencePieceJson, SENTENCE_PIECE_CONFIG)],
    ['SentencePiece with Metaspace', metaspace()],
    ['with tokens that take space', takingSpace()],
  ])('gives the same ids up to exactly the limit, and none beyond (%s)', (_, tokenizer) => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'grapheme-ascii' }),
      fc.constantFrom(
        'Once upon a time',
        '   ',
        '<|endoftext|>',
        '</s>',
        'e\u0301'.repeat(9),
        '한국어'.normalize('NFD'),
        '▁▁▁▁',
        '\u00a0\u3000\ufeff\u2028 \n',
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1 }), (pieces) => {
        const text = pieces.join('');
        const ids = tokenizer.encode(text);
        expect(tokenizer.minTokens(text)).toBeLessThanOrEqual(ids.length);
        expect(tokenizer.encode(text, ids.length)).toEqual(ids);
        if (ids.length > 0) expect(() => tokenizer.encode(text, ids.length - 1)).toThrow(TooManyTokensError);
      }),
    );
  });

  it('has no limit left over from a text that was refused', () => {
    expect(() => tiny.encode('one two three', 1)).toThrow(TooManyTokensError);
    expect(tiny.encode('one two three')).toEqual(tiny.encode('one two three', 100));
  });
});

describe('BpeBudget', () => {
  /** As the library's model; a word has as many tokens as characters. */
  function counting() {
    const encoded: string[] = [];
    const model = {
      cache: undefined,
      merges: [],
      bpe: () => [],
      encode(words: string[]) {
        encoded.push(...words);
        return words.flatMap((word) => [...word]);
      },
    };
    return { model, encoded, budget: new BpeBudget({ model } as unknown as HfTokenizer) };
  }

  it('stops at the word that goes beyond the limit, over several parts of a text', () => {
    const { model, encoded, budget } = counting();
    const tokenize = (): string[] => [...model.encode(['ab', 'cd']), ...model.encode(['e', 'fgh', 'i'])];
    expect(budget.within(9, tokenize)).toHaveLength(9);
    encoded.length = 0;
    expect(() => budget.within(7, tokenize)).toThrow(TooManyTokensError);
    expect(encoded).toEqual(['ab', 'cd', 'e', 'fgh']);
  });
});

describe('TokenBound', () => {
  const bytes = (...tokens: string[]) => tokens.map((token) => new TextEncoder().encode(token));

  it('adds up the share that each byte has in the longest token it occurs in', () => {
    const bound = new TokenBound({ tokens: bytes('a', 'aaaa', 'ab', 'b', '7') });
    expect(bound.of('a'.repeat(8))).toBe(2);
    expect(bound.of('b'.repeat(8))).toBe(4);
    expect(bound.of('7'.repeat(8))).toBe(8);
    expect(bound.of('?'.repeat(8))).toBe(0);
  });

  it('counts nothing that a special token, an unknown normalizer or a token for unknown text may take', () => {
    expect(new TokenBound({ tokens: bytes(' ', 'a'), stripsSpace: true }).of('    a')).toBe(1);
    const normalizer = { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Lowercase' }] };
    expect(new TokenBound({ tokens: bytes('a'), normalizer }).of('aaaa')).toBe(0);
    expect(new TokenBound({ tokens: bytes('a'), hasUnknown: true }).of('aaaa')).toBe(0);
  });

  const replaceBy = (pattern: object, content: string) => ({ type: 'Replace', pattern, content });
  it.each([
    ['spaces that become ▁', { normalizer: replaceBy({ String: ' ' }, '▁') }, 4],
    ['spaces that become less', { normalizer: replaceBy({ String: ' ' }, '') }, 0],
    ['something else that becomes ▁', { normalizer: replaceBy({ String: 'aa' }, '▁') }, 0],
    ['runs that become one', { normalizer: replaceBy({ Regex: ' +' }, '▁') }, 0],
    ['a split that keeps all', { preTokenizer: { type: 'Split', behavior: 'Isolated', invert: false } }, 4],
    ['a split that removes', { preTokenizer: { type: 'Split', behavior: 'Removed' } }, 0],
    ['a split that keeps matches', { preTokenizer: { type: 'Split', behavior: 'Isolated', invert: true } }, 0],
    ['another replacement', { preTokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Replace' }] } }, 0],
    ['an unknown split', { preTokenizer: { type: 'WhitespaceSplit' } }, 0],
    ['a configured change', { isChanged: true }, 0],
  ])('counts what certainly stays (%s)', (_, change, count) => {
    expect(new TokenBound({ tokens: bytes('a', ' '), ...change }).of('aa  ')).toBe(count);
  });

  it('counts no kind of space where a special token takes it', () => {
    const spaces = '\t \u00a0\u1680\u2003\u2028\u3000\ufeff';
    const bound = new TokenBound({ tokens: bytes('a', ...spaces), stripsSpace: true });
    expect(bound.of(`${spaces}a${spaces}`)).toBe(1);
  });
});

describe('long words', () => {
  it('are merged as the library merges them, and not by it', () => {
    const words = ['enth', 'ing', 'Qz'].flatMap((part) => [part.repeat(40), part.repeat(4_500)]);
    const path = 'models/tiny-stories';
    const library = new HfTokenizer(readJson(path, 'tokenizer.json'), readJson(path, 'tokenizer_config.json'));
    for (const word of words) {
      const { ids } = library.encode(word, { add_special_tokens: false });
      expect(tiny.encode(word)).toEqual(ids);
    }
    const queues = vi.spyOn(Object.getPrototypeOf(library.model) as { add_node(): void }, 'add_node');
    tiny.encode('enth'.repeat(2_100));
    expect(queues).not.toHaveBeenCalled();
    tiny.encode('enth'.repeat(2_000));
    expect(queues).toHaveBeenCalled();
    queues.mockRestore();
  });

  it('are none of those that 2 KiB become, whatever is done to them first', () => {
    const steps = [{ type: 'Prepend', prepend: '▁' }, { type: 'NFC' }];
    const tokenizer = load('models/tiny-stories', { normalizer: { type: 'Sequence', normalizers: steps } });
    // Of all characters NFC lengthens these most: four bytes become twelve.
    const text = '\u{1d160}'.repeat(512);
    expect(Buffer.byteLength(text.normalize('NFC'))).toBe(3 * 2_048);
    const merge = vi.spyOn(WordMerger.prototype, 'merge');
    tokenizer.encode(text);
    tokenizer.encode('enth'.repeat(512));
    expect(merge).not.toHaveBeenCalled();
    tokenizer.encode('enth'.repeat(2_100));
    expect(merge).toHaveBeenCalledOnce();
    merge.mockRestore();
  });
});

describe('the cache of words', () => {
  const hf = new HfTokenizer(readJson('models/tiny-stories', 'tokenizer.json'), {});
  void new BpeBudget(hf);
  const { cache } = hf.model as unknown as { cache: WordCache };

  it('is where the library looks words up', () => {
    const ids = hf.encode('hen hen').ids;
    expect(cache.get('hen')).toBeDefined();
    cache.put('hen', ['x']);
    expect(hf.encode('hen hen').ids).not.toEqual(ids);
  });

  it('is bounded, and does not move what it is asked for', () => {
    cache.clear();
    for (let word = 0; word < 10_000; word++) cache.put(`${word}`, []);
    expect(cache.get('0')).toEqual([]);
    cache.put('one more', []);
    expect([cache.get('0'), cache.get('9999'), cache.get('one more')]).toEqual([undefined, undefined, []]);
  });
});
