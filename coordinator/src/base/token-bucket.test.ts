import { beforeEach, describe, expect, it } from 'vitest';
import { KeyedBuckets, TokenBucket } from './token-bucket.ts';

let nowMs = 0;
const clock = (): number => nowMs;
beforeEach(() => (nowMs = 0));

describe('TokenBucket', () => {
  it('gives its capacity at once, and then refills by as much in every period', () => {
    const bucket = new TokenBucket(3, 60_000, clock);
    expect([bucket.take(), bucket.take(), bucket.take()]).toEqual([0, 0, 0]);
    expect(bucket.take()).toBe(20_000);
    nowMs = 19_999;
    expect(bucket.take()).toBeGreaterThan(0);
    nowMs = 20_000;
    expect(bucket.take()).toBe(0);
    nowMs = 1e9;
    expect(bucket.level).toBe(3);
  });

  it('lets a full bucket give more than its capacity, and keeps the debt', () => {
    const bucket = new TokenBucket(10, 10_000, clock);
    expect(bucket.take(25)).toBe(0);
    expect(bucket.take(1)).toBe(16_000);
    nowMs = 16_000;
    expect(bucket.take(1)).toBe(0);
  });
});

it('KeyedBuckets drops the key that has been idle longest when there are too many', () => {
  const buckets = new KeyedBuckets(1, 60_000, { clock, maxKeys: 2 });
  buckets.of('a').take();
  buckets.of('b').take();
  buckets.of('a');
  buckets.of('c');
  expect(buckets.of('a').level).toBe(0);
  expect(buckets.of('b').level).toBe(1);
});
