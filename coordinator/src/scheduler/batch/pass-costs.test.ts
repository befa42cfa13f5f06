import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { PassCosts } from './pass-costs.ts';
import { aloneInFlight } from '../testing/pass-times.ts';

function addDecode(costs: PassCosts, rows: number, ms: number): void {
  costs.add(aloneInFlight({ rows, promptRows: 0, ms }));
}

describe('PassCosts', () => {
  it('of a pass is taken apart into rows and the rest, though now and then one is held up', () => {
    const rng = createRng(5);
    const costs = new PassCosts();
    expect(costs.passMs(3)).toBe(0);
    for (let i = 0; i < 300; i++) {
      const rows = 1 + Math.floor(rng() * 8);
      addDecode(costs, rows, (50 + 3 * rows) * (rng() < 0.02 ? 20 : 0.95 + rng() / 10));
    }
    expect(costs.passMs(1)).toBeGreaterThan(48);
    expect(costs.passMs(1)).toBeLessThan(65);
    expect(costs.rowMs).toBeGreaterThan(1.5);
    expect(costs.rowMs).toBeLessThan(5);
  });

  it('follows a line that has become shorter', () => {
    const costs = new PassCosts();
    for (let i = 0; i < 100; i++) addDecode(costs, 1 + (i % 3), 100 + (i % 3));
    for (let i = 0; i < 150; i++) addDecode(costs, 1 + (i % 3), 5 + (i % 3));
    expect(costs.passMs(2)).toBeLessThan(9);
  });

  it('corrects a price that was too high after a pass of another size', () => {
    const costs = new PassCosts();
    // A cold start: passes with drafts happened to be slow. No row costs more than all of a pass.
    for (let i = 0; i < 8; i++) addDecode(costs, 1 + (i % 2), i % 2 === 0 ? 10 : 60);
    expect(costs.rowMs).toBeGreaterThan(5);
    for (let i = 0; i < 15; i++) addDecode(costs, 1, 10);
    addDecode(costs, 3, 14);
    expect(costs.rowMs).toBeLessThan(3);
  });

  it('takes no noise for a price where passes hardly differ in rows', () => {
    const rng = createRng(7);
    const costs = new PassCosts();
    const addNoisy = (rows: number): void => addDecode(costs, rows, (4 + 0.4 * rows) * (0.8 + 0.4 * rng()));
    for (let i = 0; i < 16; i++) addNoisy(8 * (1 + (i % 4)));
    const prices: number[] = [];
    for (let i = 0; i < 100; i++) {
      addNoisy(32 + (i % 2));
      prices.push(costs.rowMs);
    }
    expect(Math.min(...prices)).toBeGreaterThan(0.2);
    expect(Math.max(...prices)).toBeLessThan(0.6);
  });

  it('of calls that draft is told apart into the call and its rows', () => {
    const costs = new PassCosts();
    expect(costs.draftCall(1)).toEqual({ ms: 0, msPerStream: 0, msPerRow: 0 });
    for (let i = 0; i < 60; i++) {
      const streams = 1 + (i % 8);
      const isFirst = i % 3 === 0;
      const rows = isFirst ? streams : 2 * streams;
      costs.addDraftCall(isFirst ? 'first' : 'deeper', { streams, rows, ms: (i === 0 ? 300 : 1) + 0.25 * rows });
    }
    const [first, deeper] = [costs.draftCall(1), costs.draftCall(2)];
    expect([first.ms, first.msPerRow, first.msPerStream]).toEqual([1, 0.25, 0.25].map((ms) => expect.closeTo(ms, 2)));
    expect(deeper.msPerStream).toBeCloseTo(0.5, 1);
  });
});
