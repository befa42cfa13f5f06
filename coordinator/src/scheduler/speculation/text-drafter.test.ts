import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { newTextExperience, TextDrafter } from './text-drafter.ts';
import { TokenIndex } from './token-index.ts';

const ids = (text: string): number[] => Array.from(text, (char) => char.charCodeAt(0));
const text = (drafts: readonly number[] | undefined): string | undefined =>
  drafts?.map((id) => String.fromCharCode(id)).join('');

function drafterOf(own: string | number[], others: readonly string[] = []): TextDrafter {
  const index = new TokenIndex();
  for (const other of others) {
    index.append(ids(other), 0, other.length);
    index.endText();
  }
  return new TextDrafter(typeof own === 'string' ? ids(own) : own, newTextExperience(), index);
}

describe('TextDrafter', () => {
  it.each([
    ['abcdXabYab', 'Yab'.padEnd(4, 'Y'), 'the latest of equally long repetitions'],
    ['abcdXbcYZbcd', 'XbcY', 'the longest repetition, though another is later'],
    ['abababab', 'abab', 'a repetition that goes on past the text’s end'],
    ['xxxxx', 'xxxx', 'one token again and again'],
    ['abXYabXYabZab', 'XYab', 'what most of equally long ones have next'],
  ])('%s → %s: %s', (own, drafts) => {
    expect(text(drafterOf(own).find(4)?.drafts)).toBe(drafts);
  });

  it('finds nothing where the end is new, or the text too short', () => {
    for (const own of ['', 'a', 'ab', 'abc', 'abcb']) expect(drafterOf(own).find(4)).toBeUndefined();
    expect(drafterOf('abcab').find(0)).toBeUndefined();
  });

  it('finds what other texts have, as far as they go, and prefers what has more in common', () => {
    expect(text(drafterOf('..the cat', ['see the cat run']).find(9)?.drafts)).toBe(' run');
    expect(text(drafterOf('at! the cat', ['the cat ran', 'a cat sat']).find(3)?.drafts)).toBe(' ra');
  });

  it('keeps up with a text that grows', () => {
    const own = ids('abcd');
    const drafter = drafterOf(own);
    expect(drafter.find(2)).toBeUndefined();
    own.push(...ids('abc'));
    expect(text(drafter.find(2)?.drafts)).toBe('da');
    own.push(...ids('dab'));
    expect(text(drafter.find(1)?.drafts)).toBe('c');
  });

  it('expects more of places that agree, and of those that have more in common once they were right', () => {
    const reach = (own: string, others: readonly string[]): number => drafterOf(own, others).find(1)!.reach[0]!;
    const agreed = reach('..ab', ['abX', 'abX', 'abX']);
    const most = reach('..ab', ['abX', 'abX', 'abY']);
    const few = reach('..ab', ['abX', 'abY', 'abZ']);
    expect([agreed > most, most > few]).toEqual([true, true]);
  });

  it('learns from what comes, whether or not a pass had the drafts', () => {
    const rng = createRng(3);
    const own: number[] = [];
    const drafter = drafterOf(own);
    const pushed = (token: number): number => {
      own.push(token);
      return drafter.find(1)?.reach[0] ?? 0;
    };
    // Pairs repeat, and what follows them does not.
    let hopeless = 0;
    for (let i = 0; i < 300; i++) hopeless = pushed(i % 3 < 2 ? i % 3 : 100 + Math.floor(rng() * 1000)) || hopeless;
    expect(hopeless).toBeLessThan(0.75);
    let sure = 0;
    for (let i = 0; i < 60; i++) sure = pushed(i % 5);
    expect(sure).toBeGreaterThan(0.95);
  });

  it('stops where drafts are hardly ever right', () => {
    const own = ids('abc'.repeat(40));
    expect(drafterOf(own).find(64)!.drafts.length).toBeGreaterThan(20);
    const few = drafterOf('..ab', ['ab123456789', 'abABCDEFGHI', 'abÄÖÜäöüßéè']).find(64)!;
    expect(few.reach.at(-1)).toBeGreaterThan(0.001);
  });
});
