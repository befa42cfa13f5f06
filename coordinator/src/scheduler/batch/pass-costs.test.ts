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

  it('corrects a price that was too high after one pass of another size', () => {
    const costs = new PassCosts();
    // A cold start: passes with drafts happened to be slow.
    for (let i = 0; i < 8; i++) addDecode(costs, 1 + (i % 2), i % 2 === 0 ? 10 : 60);
    expect(costs.rowMs).toBe(50);
    for (let i = 0; i < 15; i++) addDecode(costs, 1, 10);
    addDecode(costs, 2, 12);
    expect(costs.rowMs).toBe(2);
  });
});
