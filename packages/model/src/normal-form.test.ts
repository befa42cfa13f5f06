import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { MarkRunError, steadyPart } from './normal-form.ts';
import { Tokenizer } from './tokenizer.ts';

const dir = join(import.meta.dirname, '../../../models/tiny-stories');
const readJson = (name: string) => JSON.parse(readFileSync(join(dir, name), 'utf8')) as Record<string, unknown>;
const load = (normalizer: object): Tokenizer =>
  new Tokenizer({ ...readJson('tokenizer.json'), normalizer }, readJson('tokenizer_config.json'));

const [ACUTE, GRAVE_BELOW] = ['\u0301', '\u0316'];
/** The runtime takes about a hundred seconds to normalize it. */
const HOSTILE = `a${ACUTE.repeat(260_000)}${GRAVE_BELOW.repeat(260_000)}`;

afterEach(() => void vi.restoreAllMocks());

describe('a tokenizer that normalizes', () => {
  const replace = (content: string) => ({ type: 'Replace', pattern: { String: 'x' }, content });
  it.each([
    ['NFC', { type: 'NFC' }],
    ['NFD', { type: 'NFD' }],
    ['NFKC', { type: 'NFKC' }],
    ['NFKD', { type: 'NFKD' }],
    ['BertNormalizer', { type: 'BertNormalizer', clean_text: true, strip_accents: true }],
    ['a sequence', { type: 'Sequence', normalizers: [replace(''), { type: 'NFC' }] }],
  ])('refuses long runs of combining marks, and normalizes none of them (%s)', (_, normalizer) => {
    const tokenizer = load(normalizer);
    const normalize = vi.spyOn(String.prototype, 'normalize');
    expect(() => tokenizer.encode(HOSTILE)).toThrow(MarkRunError);
    expect(() => tokenizer.encode(`a${(ACUTE + GRAVE_BELOW).repeat(128)}${ACUTE}`)).toThrow(MarkRunError);
    expect(normalize).not.toHaveBeenCalled();
    expect(tokenizer.encode(`a${(ACUTE + GRAVE_BELOW).repeat(128)}b`).length).toBeGreaterThan(0);
    expect(normalize).toHaveBeenCalled();
  });

  it.each([
    ['a replacement', { type: 'Sequence', normalizers: [replace(''), { type: 'NFC' }] }, 'x'],
    ['half-width marks', { type: 'NFKC' }, '\uff9e'],
  ])('counts marks that come together on the way (%s)', (_, normalizer, between) => {
    expect(() => load(normalizer).encode(`a${`${ACUTE.repeat(200)}${between}`.repeat(2)}`)).toThrow(MarkRunError);
  });

  it('says how few tokens a text may have without normalizing it', () => {
    const tokenizer = load({ type: 'NFC' });
    const normalize = vi.spyOn(String.prototype, 'normalize');
    expect(tokenizer.minTokens(HOSTILE)).toBe(0);
    expect(tokenizer.minTokens('7'.repeat(100_000))).toBeGreaterThan(1_000);
    expect(normalize).not.toHaveBeenCalled();
  });

  it('takes runs that a tokenizer without a normalizer is given', () => {
    const text = `a${ACUTE.repeat(300)}`;
    expect(new Tokenizer(readJson('tokenizer.json'), readJson('tokenizer_config.json')).encode(text).length).toBe(
      load({ type: 'Lowercase' }).encode(text).length,
    );
  });
});

describe('steadyPart', () => {
  it('has only characters that NFC leaves as they are, whatever comes after them', () => {
    const isSteady = (char: string): boolean => steadyPart(char) === char;
    const wrong: string[] = [];
    for (let code = 0; code <= 0x10ffff; code++) {
      const char = String.fromCodePoint(code);
      if (isSteady(char) && (char.normalize('NFC') !== char || /\p{M}/u.test(char))) wrong.push(code.toString(16));
      // What a character is composed of follows its first part.
      const [, ...following] = char.normalize('NFD');
      if (following.some(isSteady)) wrong.push(`part of ${code.toString(16)}`);
    }
    expect(wrong).toEqual([]);
  });

  it('leaves out what may be joined', () => {
    expect(steadyPart('cafe\u0301 на\u0439 и\u0306\u0306 한\u11a8 1\u0001\ud800x')).toBe('caf най   1x');
    expect(steadyPart(HOSTILE)).toBe('');
    expect(steadyPart('Once upon a time, 汉字 かな и русский 😀')).toBe('Once upon a time, 汉字 かな и русский 😀');
  });
});
