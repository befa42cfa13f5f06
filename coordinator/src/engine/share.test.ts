import type { SequenceCache } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { Sequence } from './sequence.ts';
import { Shares } from './share.ts';

/** A sequence with a prompt of so many tokens, of which so many rows are computed, and after all of them one token more. */
function sequence(promptRows: number, computed: number): Sequence {
  const made = new Sequence({
    id: '',
    promptIds: Array.from({ length: promptRows }, (_, i) => i),
    maxTokens: 8,
    temperature: 0,
    topP: 1,
    seed: 1,
    signal: new AbortController().signal,
  });
  made.cache = { length: computed } as SequenceCache;
  if (computed === promptRows) made.ids.push(0);
  return made;
}

/** A pass has it: the engine has made room for its rows. */
function enter(entered: Sequence, rows: number): void {
  entered.rowsInPass = rows;
  entered.cache = { length: entered.cache!.length + rows } as SequenceCache;
}

describe('a prompt', () => {
  /** As many rows as there may be, and few beside who waits for a token. */
  const budget = { rowsBeside: (decodeRows: number) => (decodeRows === 0 ? 256 : 24) };

  it('has all that there may be where nobody decodes', () => {
    const prompt = sequence(1000, 0);
    expect(new Shares(budget).take([prompt], 2, 2).promptRows.get(prompt)).toBe(256);
  });

  it('holds up no more than a budget those who decode, whichever pass they are in', () => {
    const streams = [sequence(4, 4), sequence(4, 4)];
    const prompt = sequence(1000, 0);
    const running = [...streams, prompt];
    expect(new Shares(budget).take(running, 1, 1).promptRows.get(prompt)).toBe(24);
    for (const stream of streams) enter(stream, 1);
    expect(new Shares(budget).take(running, 2, 1).promptRows.get(prompt)).toBe(24);
    // The last rows of a prompt, of which its first token comes.
    const last = sequence(40, 30);
    enter(last, 10);
    expect(new Shares(budget).take([last, prompt], 2, 1).promptRows.get(prompt)).toBe(24);
  });
});
