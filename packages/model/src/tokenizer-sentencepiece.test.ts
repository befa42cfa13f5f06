import { describe, expect, it } from 'vitest';
import { SENTENCE_PIECE_CONFIG, sentencePieceJson } from './testing/sentence-piece.ts';
import { Tokenizer } from './tokenizer.ts';

const tokenizer = new Tokenizer(sentencePieceJson, SENTENCE_PIECE_CONFIG);
const id = (token: string) => (sentencePieceJson.model.vocab as Record<string, number>)[token]!;

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
