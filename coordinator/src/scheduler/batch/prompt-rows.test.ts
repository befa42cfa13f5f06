import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { PromptRows, type PromptWork } from './prompt-rows.ts';

const work = (client: string, ...remaining: number[]): PromptWork[] =>
  remaining.map((rows) => ({ client, remaining: rows }));

describe('the rows of one pass', () => {
  it('go to the shortest prompt first, and a quarter to the eldest', () => {
    const share = new PromptRows();
    expect(share.of(work('a', 1000, 20, 300), 64)).toEqual([16, 20, 28]);
    expect(share.of(work('a', 20, 1000), 64)).toEqual([20, 44]);
    expect(share.of(work('a', 10, 20), 64)).toEqual([10, 20]);
    expect(share.of([], 64)).toEqual([]);
    expect(share.of(work('a', 10), 0)).toEqual([0]);
  });

  it('are shared equally by clients, not by prompts, and what one does not need is the others’', () => {
    const share = new PromptRows();
    const rows = share.of([...work('many', 100, 100, 100, 100, 100, 100), ...work('one', 1000)], 64);
    expect(rows.slice(0, 6).reduce((a, b) => a + b)).toBe(32);
    expect(rows[6]).toBe(32);
    expect(share.of([...work('many', 100, 100), ...work('one', 4)], 64)[2]).toBe(4);
  });

  it('are every client’s in turn where they are few', () => {
    const share = new PromptRows();
    const prompts = ['a', 'b', 'c', 'd'].flatMap((client) => work(client, 1000));
    const got = [0, 0, 0, 0];
    for (let pass = 0; pass < 8; pass++) share.of(prompts, 8).forEach((rows, i) => (got[i]! += rows));
    expect(got).toEqual([16, 16, 16, 16]);
  });
});

describe('any load', () => {
  /** Passes over prompts that arrive at random, some long and most short; one client floods the others. */
  function run(seed: number, budget: number) {
    const rng = createRng(seed);
    const share = new PromptRows();
    const active: (PromptWork & { born: number; size: number; olderOfClient: number; clients: number })[] = [];
    const waits: { passes: number; bound: number; size: number }[] = [];
    for (let pass = 0; pass < 800; pass++) {
      while (active.length < 12 && rng() < 0.5) {
        const client = rng() < 0.7 ? 'flood' : `client ${Math.floor(rng() * 3)}`;
        const size = rng() < 0.1 ? 500 : 1 + Math.floor(rng() * 20);
        const older = active.filter((other) => other.client === client);
        const olderRows = older.reduce((sum, { remaining }) => sum + remaining, 0);
        active.push({ client, remaining: size, born: pass, size, olderOfClient: olderRows, clients: 4 });
      }
      const rows = share.of(active, budget);
      const left = active.reduce((sum, { remaining }) => sum + remaining, 0);
      const given = rows.reduce((a, b) => a + b, 0);
      rows.forEach((n, i) => (active[i]!.remaining -= n));
      if (given !== Math.min(budget, left) || active.some(({ remaining }) => remaining < 0))
        expect.unreachable(`${given} of ${budget} rows were given where ${left} were left`);
      for (const done of active.filter(({ remaining }) => remaining === 0)) {
        active.splice(active.indexOf(done), 1);
        // A client gets 8 rows in any `clients` × 8 ÷ budget passes; a quarter goes to its oldest prompt.
        const rowsAPass = Math.min(budget / 4, 8 / Math.ceil((done.clients * 8) / budget)) / 4;
        const bound = Math.ceil((done.olderOfClient + done.size) / rowsAPass) + done.clients;
        waits.push({ passes: pass - done.born + 1, bound, size: done.size });
      }
    }
    return waits;
  }

  it('leaves no prompt waiting for ever, however many short ones come after it', () => {
    for (const budget of [8, 20, 64]) {
      for (let seed = 1; seed <= 3; seed++) {
        const waits = run(seed, budget);
        expect(waits.length).toBeGreaterThan(50);
        expect(waits.filter(({ passes, bound }) => passes > bound)).toEqual([]);
      }
    }
  });

  it('lets a long prompt end beside a new short one in every pass', () => {
    const share = new PromptRows();
    let remaining = 500;
    let passes = 0;
    while (remaining > 0 && passes < 1000) {
      remaining -= share.of([...work('a', remaining), ...work('a', 64)], 64)[0]!;
      passes++;
    }
    // A quarter of each pass, until it is the shortest itself.
    expect(passes).toBe((500 - 52) / 16 + 1);
  });

  it('lets short prompts pass long ones', () => {
    const waits = run(4, 16);
    const mean = (of: typeof waits): number => of.reduce((sum, { passes }) => sum + passes, 0) / of.length;
    const short = waits.filter(({ size }) => size <= 20);
    const long = waits.filter(({ size }) => size === 500);
    expect(long.length).toBeGreaterThan(5);
    // In order of arrival a short one would wait for the long ones before it, 31 passes each.
    expect(mean(short)).toBeLessThan(10);
    expect(mean(long)).toBeGreaterThan(31);
  });
});
