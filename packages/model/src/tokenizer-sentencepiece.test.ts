import { describe, expect, it } from 'vitest';
import { Tokenizer } from './tokenizer.ts';

const SPECIAL = ['<unk>', '<s>', '</s>'];
const BYTES = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
const CHARACTERS = ['▁', ...'abcdefghijklmnopqrstuvwxyzT.,é'];
const MERGES = [
  ['t', 'h'],
  ['th', 'e'],
  ['▁', 'the'],
  ['▁', 'a'],
] as const;

/** In the form of Mixtral's tokenizer.json. */
const json = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: SPECIAL.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  pre_tokenizer: null,
  post_processor: null,
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: '<unk>',
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: true,
    byte_fallback: true,
    vocab: Object.fromEntries(
      [...SPECIAL, ...BYTES, ...CHARACTERS, ...MERGES.map((pair) => pair.join(''))].map((token, id) => [token, id]),
    ),
    merges: MERGES.map((pair) => pair.join(' ')),
  },
};
const tokenizer = new Tokenizer(json, { bos_token: '<s>', eos_token: '</s>', add_bos_token: true });
const id = (token: string) => (json.model.vocab as Record<string, number>)[token]!;

describe('a SentencePiece tokenizer with byte fallback', () => {
  it('begins a text with a space, merges, and spells what it lacks in bytes', () => {
    expect(tokenizer.encode('the a')).toEqual([id('▁the'), id('▁a')]);
    expect(tokenizer.encodePrompt('a')).toEqual([1, id('▁a')]);
    expect(tokenizer.encode('a€')).toEqual([id('▁a'), id('<0xE2>'), id('<0x82>'), id('<0xAC>')]);
  });

  it.each(['the cat, a hat.', ' two  spaces ', 'Très bien', '€ and 🐟 and 漢字', 'line\nline\ttab', '<0x41>'])(
    'gives %j back',
    (text) => expect(tokenizer.decode(tokenizer.encode(text))).toBe(text),
  );

  it('streams whole characters, and keeps the space that a continuation begins with', () => {
    const detokenizer = tokenizer.detokenizer();
    const pieces = ['▁the', '<0xE2>', '<0x82>', '<0xAC>', '</s>', '▁a'].map((token) => detokenizer.push(id(token)));
    expect(pieces).toEqual([' the', '', '', '€', '', ' a']);
  });
});
