import { createRng } from '@shoal/model';
import { expect, it } from 'vitest';
import { TokenCounts } from './token-counts.ts';

/** The same from scratch. */
function counted(prompt: readonly number[], answer: readonly number[]): Map<number, number> {
  const counts = new Map(prompt.map((tokenId) => [tokenId, 0]));
  for (const tokenId of answer) counts.set(tokenId, (counts.get(tokenId) ?? 0) + 1);
  return counts;
}

it.each([0, 5, 255, 256, 700])('lists each token once, with its count, after a prompt of %i tokens', (length) => {
  const rng = createRng(length);
  const some = (count: number): number[] => Array.from({ length: count }, () => Math.floor(rng() * 2000));
  const [prompt, answer] = [some(length), some(1200)];
  const counts = new TokenCounts(prompt);
  for (const [i, tokenId] of answer.entries()) {
    counts.add(tokenId);
    if (i % 100 > 0) continue;
    const drafts = some(i % 300 === 0 ? 0 : 6);
    const listed = counts.with([...drafts, ...drafts.slice(0, 2)]);
    const expected = counted(prompt, [...answer.slice(0, i + 1), ...drafts, ...drafts.slice(0, 2)]);
    const entries = Array.from(
      { length: listed.length / 2 },
      (_, at) => [listed[2 * at]!, listed[2 * at + 1]!] as const,
    );
    expect(entries).toHaveLength(expected.size);
    expect(new Map(entries)).toEqual(expected);
  }
});
