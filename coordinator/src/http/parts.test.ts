import { describe, expect, it } from 'vitest';
import type { OutputToken } from './choice.ts';
import { type AnswerEvent, PartSplitter } from './parts.ts';

const token = (text: string, tokenId = 1): OutputToken => ({ tokenId, text, offset: 0, laps: [] });

describe('PartSplitter', () => {
  it('makes a part of what is of one kind in a row', () => {
    const splitter = new PartSplitter();
    const all: AnswerEvent[] = [
      { type: 'reasoning', text: 'a' },
      { type: 'reasoning', text: 'b' },
      { type: 'content', text: 'c' },
      { type: 'call', index: 0, id: 'x', name: 'f' },
      { type: 'arguments', index: 0, text: '{' },
      { type: 'arguments', index: 0, text: '}' },
      { type: 'call', index: 1, id: 'y', name: 'g' },
      { type: 'content', text: 'd' },
    ];
    const events = [...all.flatMap((event) => splitter.push([event], [])), ...splitter.finish()];
    expect(splitter.parts).toEqual([
      { type: 'reasoning', text: 'ab' },
      { type: 'content', text: 'c', tokens: [] },
      { type: 'call', id: 'x', name: 'f', arguments: '{}' },
      { type: 'call', id: 'y', name: 'g', arguments: '' },
      { type: 'content', text: 'd', tokens: [] },
    ]);
    // Each part is opened, grows and is closed before the next one.
    const types = events.map(({ type, index }) => `${type} ${index}`);
    const asked = 'open 0|more 0|more 0|close 0|open 1|more 1|close 1|open 2|more 2|more 2|close 2|open 3|close 3';
    expect(types).toEqual([...asked.split('|'), 'open 4', 'more 4', 'close 4']);
    expect(events[0]).toMatchObject({ part: { type: 'reasoning', text: '' } });
  });

  it('gives a text the tokens that it was made of, and none of the markup before it', () => {
    const splitter = new PartSplitter();
    splitter.push([{ type: 'reasoning', text: 'hm' }], [token('hm')]);
    for (const mark of ['</', 'think', '>']) splitter.push([], [token(mark)]);
    splitter.push([{ type: 'content', text: 'so' }], [token('so')]);
    // Held back: it could have been markup. The last has two tokens for one character.
    splitter.push([], [token('<')]);
    splitter.push([{ type: 'content', text: '<é' }], [token('', 2), token('é')]);
    const [, content] = splitter.parts as { tokens?: OutputToken[] }[];
    expect(content!.tokens!.map(({ text }) => text)).toEqual(['so', '<', '', 'é']);
  });

  it('has nothing to say of an answer without events', () => {
    const splitter = new PartSplitter();
    expect([...splitter.push([], [token('')]), ...splitter.finish()]).toEqual([]);
  });
});
