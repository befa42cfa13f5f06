import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { PromptLookup } from './lookup.ts';

describe('PromptLookup', () => {
  const find = (text: string, count = 4): string | undefined =>
    new PromptLookup(Array.from(text, (char) => char.charCodeAt(0)))
      .find(count)
      ?.drafts.map((id) => String.fromCharCode(id))
      .join('');

  it.each([
    ['abcdXabYab', 'Yab'.padEnd(4, 'Y'), 'the most recent of equally long repetitions'],
    ['abcdXbcYZbcd', 'XbcY', 'the longest repetition, though another is more recent'],
    ['abababab', 'abab', 'a repetition that goes on past the text’s end'],
    ['xxxxx', 'xxxx', 'one token again and again'],
  ])('%s → %s: %s', (text, drafts) => {
    expect(find(text)).toBe(drafts);
  });

  it('finds nothing where the end is new, or the text too short', () => {
    for (const text of ['', 'a', 'ab', 'abc', 'abcb']) expect(find(text)).toBeUndefined();
    expect(find('abcab', 0)).toBeUndefined();
  });

  it('keeps up with a text that grows, and tells how long the repetition is', () => {
    const ids = [1, 2, 3, 4];
    const lookup = new PromptLookup(ids);
    expect(lookup.find(2)).toBeUndefined();
    ids.push(1, 2, 3);
    expect(lookup.find(2)).toEqual({ length: 3, drafts: [4, 1] });
    ids.push(4, 1, 2);
    expect(lookup.find(1)).toEqual({ length: 6, drafts: [3] });
  });

  it('finds what a search of the whole text finds', () => {
    const rng = createRng(8);
    for (let round = 0; round < 200; round++) {
      const ids = Array.from({ length: 40 }, () => Math.floor(rng() * 3));
      let best = { length: 1, at: -1 };
      for (let at = ids.length - 2; at >= 1; at--) {
        let length = 0;
        while (length <= at && ids[at - length] === ids[ids.length - 1 - length]) length++;
        if (length > best.length) best = { length, at };
      }
      const found = new PromptLookup(ids).find(1);
      expect(found?.drafts[0]).toBe(best.at < 0 ? undefined : ids[best.at + 1]);
    }
  });
});
