import { describe, expect, it } from 'vitest';
import { RecentAnswers, type ScopeAnswers } from './recent-answers.ts';
import { LongestPlaces } from './token-index.ts';

const count = (from: number, length: number): number[] => Array.from({ length }, (_, i) => from + i);

/** Whether the answers contain these tokens, one after another. */
function has({ index }: ScopeAnswers, ids: readonly number[]): boolean {
  const places = new LongestPlaces();
  index.search(ids, places);
  return (places.list[0]?.length ?? 0) >= Math.min(64, ids.length);
}

describe('RecentAnswers', () => {
  it('keeps each scope’s answers apart, with the ends of their prompts', () => {
    const recent = new RecentAnswers();
    recent.of('key a').add([...count(1, 100), ...count(500, 10)], 100);
    expect(has(recent.of('key a'), count(500, 10))).toBe(true);
    expect(has(recent.of('key a'), [99, 100, 500])).toBe(true);
    expect(has(recent.of('key a'), count(50, 5))).toBe(false);
    expect(has(recent.of('key b'), count(500, 10))).toBe(false);
    expect(recent.bytes).toBeGreaterThan(0);
  });

  it('drops scopes for good, also for answers that were under way', () => {
    const recent = new RecentAnswers();
    const underWay = recent.of('key a');
    recent.of('key b').add(count(1, 10), 5);
    recent.keepOnly((name) => name !== 'key a');
    underWay.add(count(700, 10), 5);
    expect(has(recent.of('key a'), count(705, 5))).toBe(false);
    expect(has(recent.of('key b'), count(6, 4))).toBe(true);
  });

  it('stays within its bytes: the scopes that were used least recently leave', () => {
    const recent = new RecentAnswers(100_000);
    for (let key = 0; key < 20; key++) {
      recent.of('often').add(count(1e6, 10), 0);
      recent.of(`key ${key}`).add(count(1000 * key, 900), 0);
      expect(recent.bytes).toBeLessThanOrEqual(100_000);
    }
    expect(has(recent.of('often'), count(1e6, 10))).toBe(true);
    expect(has(recent.of('key 19'), count(19_000, 900))).toBe(true);
    expect(has(recent.of('key 0'), count(0, 900))).toBe(false);
    for (let key = 0; key < 3000; key++) recent.of(`empty ${key}`);
    expect(recent.bytes).toBeLessThanOrEqual(100_000);
  });

  it('bounds what one answer takes, and what a scope does: the oldest answers leave', () => {
    const recent = new RecentAnswers();
    const scope = recent.of('key');
    scope.add(count(0, 20), 10);
    scope.add(count(1000, 50_000), 0);
    expect(has(scope, count(9000, 64))).toBe(true);
    expect(has(scope, count(20_000, 64))).toBe(false);
    expect(has(scope, count(10, 10))).toBe(true);
    for (let answer = 0; answer < 10; answer++) scope.add(count(100_000 * answer, 8192), 0);
    expect(has(scope, count(10, 10))).toBe(false);
    expect(has(scope, count(900_000, 64))).toBe(true);
    expect(scope.bytes).toBeLessThan(2 ** 20);
  });
});
