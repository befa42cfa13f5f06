import { describe, expect, it } from 'vitest';
import { sentenceEnd, wholeSentences } from './sentences.ts';

describe('the end of a sentence', () => {
  it.each([
    ['Tom ran. He fell.', 0, 'Tom ran.'],
    ['Tom ran. He fell. ', 8, 'Tom ran.'],
    ['Tom ran. He fell. ', 9, 'Tom ran. He fell.'],
    ['"Let us go!" said Tom. ', 0, '"Let us go!"'],
    ['Mr. Fox ran. ', 0, 'Mr. Fox ran.'],
    ['It cost 1.50 dollars! ', 0, 'It cost 1.50 dollars!'],
    ['He waited... and left. ', 0, 'He waited...'],
  ])('of %j from %i', (text, from, sentences) => {
    expect(text.slice(0, sentenceEnd(text, from))).toBe(sentences);
  });

  it('is not certain before what follows is known', () => {
    for (const text of ['Tom ran', 'Tom ran.', 'Tom ran."']) expect(sentenceEnd(text, 0)).toBeUndefined();
    expect(sentenceEnd('Tom ran.', 0, true)).toBe(8);
  });
});

it('cuts a text after its last whole sentence, and marks one without any', () => {
  expect(wholeSentences('Tom ran. "Stop!" said Ann. Then the')).toBe('Tom ran. "Stop!" said Ann.');
  expect(wholeSentences('Tom ran.')).toBe('Tom ran.');
  expect(wholeSentences('Tom and the')).toBe('Tom and the …');
});
