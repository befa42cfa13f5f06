import { describe, expect, it } from 'vitest';
import { type Attempt, hedge, HedgeBudget } from './hedge.ts';

function attempt(): Attempt<string> & { resolve(value: string): void; reject(error: Error): void; hasLost: boolean } {
  let resolve!: (value: string) => void;
  let reject!: (error: Error) => void;
  const result = new Promise<string>((yes, no) => ([resolve, reject] = [yes, no]));
  const made = { result, resolve, reject, hasLost: false, lost: () => void (made.hasLost = true) };
  return made;
}

describe('hedge', () => {
  it('starts no second attempt when the first answers in time', async () => {
    const first = attempt();
    first.resolve('a');
    expect(await hedge(first, 10_000, () => expect.unreachable())).toBe('a');
    expect(first.hasLost).toBe(false);
  });

  it('starts no second attempt when the first fails in time, which is for a re-dispatch', async () => {
    const first = attempt();
    first.reject(new Error('gone'));
    await expect(hedge(first, 10_000, () => expect.unreachable())).rejects.toThrow('gone');
  });

  it('takes the earlier answer, and tells the other attempt', async () => {
    const [first, second] = [attempt(), attempt()];
    const outcome = hedge(first, 0, () => second);
    setTimeout(() => second.resolve('b'), 5);
    expect(await outcome).toBe('b');
    expect([first.hasLost, second.hasLost]).toEqual([true, false]);
    const [slow, other] = [attempt(), attempt()];
    const late = hedge(slow, 0, () => other);
    setTimeout(() => slow.resolve('a'), 5);
    expect(await late).toBe('a');
    expect([slow.hasLost, other.hasLost]).toEqual([false, true]);
  });

  it('waits for the first attempt when start() declines', async () => {
    const first = attempt();
    const outcome = hedge(first, 0, () => undefined);
    setTimeout(() => first.resolve('a'), 5);
    expect(await outcome).toBe('a');
  });

  it('survives the failure of either attempt, and throws the first one’s error if both fail', async () => {
    const [first, second] = [attempt(), attempt()];
    const outcome = hedge(first, 0, () => second);
    setTimeout(() => first.reject(new Error('first')), 2);
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
  it('lets no more than its share and its burst through', () => {
    const budget = new HedgeBudget();
    let hedges = 0;
    for (let lap = 0; lap < 10_000; lap++) {
      budget.earn();
      if (budget.take()) hedges++;
    }
    expect(hedges).toBeLessThanOrEqual(10_000 * 0.05 + 4);
    expect(hedges).toBeGreaterThan(10_000 * 0.05 - 1);
  });
});
