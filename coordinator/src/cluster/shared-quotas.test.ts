import { createRng } from '@shoal/model';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock } from '../base/clock.ts';
import type { LeaseAnswer, LeaseRequest } from './leased-bucket.ts';
import { type QuotaStore, SharedQuotas } from './shared-quotas.ts';
import { MemoryCluster } from './testing/memory-cluster.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const MINUTE_MS = 60_000;
const LIMIT = 600;

/** The table `quotas` in memory, whose answers take a while. */
class Store implements QuotaStore {
  readonly #levels = new Map<string, { level: number; atMs: number }>();
  asked = 0;
  readonly #latencyMs: number;

  constructor(latencyMs: number) {
    this.#latencyMs = latencyMs;
  }

  async lease(requests: readonly LeaseRequest[]): Promise<ReadonlyMap<string, LeaseAnswer>> {
    this.asked++;
    await new Promise((resolve) => setTimeout(resolve, this.#latencyMs / 2));
    const answers = new Map<string, LeaseAnswer>();
    for (const { name, capacity, perMs, debt, want } of requests) {
      const { level, atMs } = this.#levels.get(name) ?? { level: capacity, atMs: performance.now() };
      const before = Math.min(capacity, Math.min(capacity, level + perMs * (performance.now() - atMs)) - debt);
      const granted = Math.max(0, Math.floor(Math.min(want, before)));
      this.#levels.set(name, { level: before - granted, atMs: performance.now() });
      answers.set(name, { granted, level: before - granted });
    }
    await new Promise((resolve) => setTimeout(resolve, this.#latencyMs / 2));
    return answers;
  }
}

function quotasOf(members: number, latencyMs = 5) {
  const store = new Store(latencyMs);
  const cluster = new MemoryCluster(members);
  const buckets = cluster.members.map((member) =>
    new SharedQuotas(member.members, store, systemClock).bucket('key', LIMIT, MINUTE_MS),
  );
  return { store, cluster, buckets };
}

test('seeded load on three members: no more than the limit and the stated slack, and not much less', async () => {
  for (const seed of [1, 2]) {
    const rng = createRng(seed);
    const { buckets } = quotasOf(3, 1 + 40 * rng());
    let taken = 0;
    let worst = 0;
    const startMs = performance.now();
    for (let i = 0; i < 1_000; i++) {
      await vi.advanceTimersByTimeAsync((2 * MINUTE_MS) / 1_000);
      // Bursts, mostly at one of them, of two to four times what is allowed.
      const bucket = buckets[Math.floor(rng() ** 2 * 3)]!;
      for (let n = Math.floor(rng() ** 2 * 24); n > 0; n--) if (bucket.take() === 0) taken++;
      const allowed = LIMIT + (LIMIT / MINUTE_MS) * (performance.now() - startMs);
      worst = Math.max(worst, taken - allowed);
    }
    // Slices are held by who took them from the limit, so only what is spent beyond them counts here.
    expect(worst, `seed ${seed}`).toBeLessThanOrEqual(LIMIT / 4);
    expect(taken, `seed ${seed}`).toBeGreaterThan(3 * LIMIT * 0.95);
  }
});

test('all members at once, before any has asked: at most a slice and one request each beyond the limit', async () => {
  const { buckets } = quotasOf(3);
  let taken = 0;
  for (let round = 0; round < 100; round++) {
    for (const bucket of buckets) while (bucket.take() === 0) taken++;
    await vi.advanceTimersByTimeAsync(1);
  }
  expect(taken).toBeGreaterThanOrEqual(LIMIT);
  expect(taken).toBeLessThanOrEqual(LIMIT * (1 + 1 / 4) + 1);
});

test('a burst at one member gets the whole limit, and its level is what is left', async () => {
  const { buckets } = quotasOf(3);
  const [loaded] = buckets;
  let taken = 0;
  for (let i = 0; i < LIMIT / 30; i++) {
    for (let n = 0; n < 30; n++) if (loaded!.take() === 0) taken++;
    await vi.advanceTimersByTimeAsync(10);
    if (i === 9) expect(loaded!.level).toBeCloseTo(LIMIT - 300, -1);
  }
  expect(taken).toBe(LIMIT);
  while (loaded!.take() === 0) taken++;
  expect(taken, 'what has come back meanwhile').toBeLessThanOrEqual(LIMIT + 3);
  expect(loaded!.level).toBeLessThan(2);
});

test('one large request passes where there is room, also beyond a slice', async () => {
  const { buckets } = quotasOf(3);
  expect(buckets[0]!.take(400)).toBe(0);
  await vi.advanceTimersByTimeAsync(10);
  expect(buckets[1]!.take(1)).toBe(0);
  await vi.advanceTimersByTimeAsync(10);
  expect(buckets[1]!.take(400)).toBeGreaterThan(15_000);
});

test('what nobody uses goes back, and nothing more is asked', async () => {
  const { buckets, store } = quotasOf(3);
  for (const bucket of buckets) bucket.take();
  await vi.advanceTimersByTimeAsync(30_000);
  const { asked } = store;
  await vi.advanceTimersByTimeAsync(MINUTE_MS);
  expect(store.asked).toBe(asked);
  expect(buckets[0]!.level).toBe(LIMIT);
  let taken = 0;
  for (let i = 0; i < 200; i++) {
    for (let n = 0; n < 10; n++) if (buckets[0]!.take() === 0) taken++;
    await vi.advanceTimersByTimeAsync(5);
  }
  expect(taken).toBeGreaterThanOrEqual(LIMIT);
});

test('a member that is cut off allows its share, and tells afterwards what it has allowed', async () => {
  const { buckets, cluster } = quotasOf(3);
  const [cut, other] = buckets;
  cluster.members[0]!.cut();
  let taken = 0;
  while (cut!.take() === 0) taken++;
  expect(taken).toBe(LIMIT / 3);
  await vi.advanceTimersByTimeAsync(MINUTE_MS / 2);
  while (cut!.take() === 0) taken++;
  expect(taken).toBe(LIMIT / 2);
  cluster.members[0]!.mend();
  cut!.take();
  await vi.advanceTimersByTimeAsync(10);
  other!.take();
  await vi.advanceTimersByTimeAsync(10);
  expect(other!.level).toBeLessThan(LIMIT / 2 + 2);
});

test('alone, all of the limit can be had at once', () => {
  const { buckets } = quotasOf(1);
  let taken = 0;
  while (buckets[0]!.take() === 0) taken++;
  expect(taken).toBe(LIMIT);
});
