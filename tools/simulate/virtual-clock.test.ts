import { describe, expect, it } from 'vitest';
import { Events } from './events.ts';
import { VirtualClock } from './virtual-clock.ts';

describe('Events', () => {
  it('come in order of time, and of the same time as they were scheduled', () => {
    const events = new Events<string>();
    for (const [atMs, name] of [
      [5, 'c'],
      [1, 'a'],
      [5, 'd'],
      [3, 'b'],
      [9, 'e'],
    ] as const)
      events.schedule(atMs, name);
    const taken: string[] = [];
    for (let next = events.takeUntil(5); next; next = events.takeUntil(5)) taken.push(next.event);
    expect(taken).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('VirtualClock', () => {
  it('lets all that an event sets off happen at its own time, however many promises that takes', async () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    clock.setTimeout(() => {
      void (async () => {
        for (let i = 0; i < 100; i++) await Promise.resolve();
        seen.push(clock.now());
        await clock.sleep(2);
        seen.push(clock.now());
      })();
    }, 10);
    clock.setTimeout(() => seen.push(clock.now()), 11);
    await clock.runUntil(20);
    expect(seen).toEqual([10, 11, 12]);
    expect(clock.now()).toBe(20);
  });

  it('does nothing before its time, nor what was called off', async () => {
    const clock = new VirtualClock();
    let ticks = 0;
    clock.clear(clock.setTimeout(() => expect.unreachable(), 5));
    const ticker = clock.setInterval(() => {
      if (++ticks === 3) clock.clear(ticker);
    }, 1000);
    await clock.runUntil(999);
    expect(ticks).toBe(0);
    await clock.runUntil(60_000);
    expect(ticks).toBe(3);
  });
});
