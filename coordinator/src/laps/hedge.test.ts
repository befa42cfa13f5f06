import { describe, expect, it } from 'vitest';
import { type Attempt, hedge, HedgeBudget } from './hedge.ts';

function attempt(): Attempt<string> & { resolve(value: string): void; reject(error: Error): void; cancelled: boolean } {
  let resolve!: (value: string) => void;
  let reject!: (error: Error) => void;
  const result = new Promise<string>((yes, no) => ([resolve, reject] = [yes, no]));
  const made = { result, resolve, reject, cancelled: false, cancel: () => void (made.cancelled = true) };
  return made;
}

describe('hedge', () => {
  it('starts nothing when the primary answers in time', async () => {
    const primary = attempt();
    primary.resolve('a');
    expect(await hedge(primary, 10_000, () => expect.unreachable())).toBe('a');
    expect(primary.cancelled).toBe(false);
  });

  it('starts nothing when the primary fails in time: that is for a re-dispatch', async () => {
    const primary = attempt();
    primary.reject(new Error('gone'));
    await expect(hedge(primary, 10_000, () => expect.unreachable())).rejects.toThrow('gone');
  });

  it('takes whichever is first, and cancels the other', async () => {
    const [primary, second] = [attempt(), attempt()];
    const outcome = hedge(primary, 0, () => second);
    setTimeout(() => second.resolve('b'), 5);
    expect(await outcome).toBe('b');
    expect([primary.cancelled, second.cancelled]).toEqual([true, false]);
    const [slow, other] = [attempt(), attempt()];
    const late = hedge(slow, 0, () => other);
    setTimeout(() => slow.resolve('a'), 5);
    expect(await late).toBe('a');
    expect([slow.cancelled, other.cancelled]).toEqual([false, true]);
  });

  it('waits on when there is nobody to hedge with', async () => {
    const primary = attempt();
    const outcome = hedge(primary, 0, () => undefined);
    setTimeout(() => primary.resolve('a'), 5);
    expect(await outcome).toBe('a');
  });

  it('survives the failure of either, and of both with the primary’s error', async () => {
    const [primary, second] = [attempt(), attempt()];
    const outcome = hedge(primary, 0, () => second);
    setTimeout(() => primary.reject(new Error('first')), 2);
    setTimeout(() => second.resolve('b'), 6);
    expect(await outcome).toBe('b');
    const [one, two] = [attempt(), attempt()];
    const both = hedge(one, 0, () => two);
    setTimeout(() => two.reject(new Error('second')), 2);
    setTimeout(() => one.reject(new Error('first')), 6);
    await expect(both).rejects.toThrow('first');
  });
});

describe('HedgeBudget', () => {
  it('never lets more than its share and its burst through', () => {
    const budget = new HedgeBudget(0.05, 4);
    let hedges = 0;
    for (let lap = 0; lap < 10_000; lap++) {
      budget.earn();
      if (budget.take()) hedges++;
    }
    expect(hedges).toBeLessThanOrEqual(10_000 * 0.05 + 4);
    expect(hedges).toBeGreaterThan(10_000 * 0.05 - 1);
  });
});
