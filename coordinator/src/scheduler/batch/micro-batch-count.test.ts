import { describe, expect, it } from 'vitest';
import { MicroBatchCount } from './micro-batch-count.ts';
import { PassCosts } from './pass-costs.ts';

/** The choice with its costs. */
class Chooser {
  readonly #costs = new PassCosts();
  readonly #count = new MicroBatchCount(this.#costs);

  add({ rows, engineMs, waitedMs }: { rows: number; engineMs: number; waitedMs: number }): void {
    const passMs = engineMs + waitedMs;
    const pass = { rows, promptRows: 0, passMs, shareMs: passMs, meanRows: rows, turnMs: passMs, engineMs, waitedMs };
    this.#costs.add(pass);
    this.#count.add(pass);
  }

  choose(rows: number): 1 | 2 {
    return this.#count.choose(rows);
  }
}

/** Passes of a dense engine with a known cost, a + b per row, and laps. */
function run(choice: Chooser, passes: number, rows: number, cost: { passMs: number; rowMs: number; waitMs: number }) {
  let microBatches = choice.choose(rows);
  for (let i = 0; i < passes; i++) {
    const own = Math.ceil(rows / microBatches);
    choice.add({ rows: own, engineMs: cost.passMs + cost.rowMs * own, waitedMs: cost.waitMs });
    microBatches = choice.choose(rows);
  }
  return microBatches;
}

describe('MicroBatchCount', () => {
  it('is one at first, and for a single row whatever the laps take', () => {
    const choice = new Chooser();
    expect(choice.choose(16)).toBe(1);
    expect(run(choice, 100, 1, { passMs: 1, rowMs: 0.1, waitMs: 100 })).toBe(1);
  });

  it('is two where laps take long, and one again where they do not', () => {
    const choice = new Chooser();
    expect(run(choice, 40, 16, { passMs: 2, rowMs: 0.2, waitMs: 100 })).toBe(2);
    expect(run(choice, 300, 16, { passMs: 2, rowMs: 0.2, waitMs: 0.2 })).toBe(1);
  });

  it('is one where reading the weights twice would take longer than the laps', () => {
    // Whole: 50 + 16 + 30 = 96 ms; in halves: 2 × 58 ms.
    expect(run(new Chooser(), 300, 16, { passMs: 50, rowMs: 1, waitMs: 30 })).toBe(1);
  });

  it('tries halves where they may pay, goes back where they wait for each other, and tries again much later', () => {
    const choice = new Chooser();
    let tries = 0;
    let before = choice.choose(16);
    for (let i = 0; i < 3000; i++) {
      const rows = before === 2 ? 8 : 16;
      // Experts on the same machine: a half takes nearly as long as the whole and waits for the other half.
      choice.add({ rows, engineMs: 2 + 0.2 * rows, waitedMs: before === 2 ? 28 : 16 });
      const microBatches = choice.choose(16);
      if (microBatches === 2 && before === 1) tries++;
      before = microBatches;
    }
    expect(before).toBe(1);
    expect(tries).toBe(3);
  });

  it('does not go back and forth at the edge', () => {
    const choice = new Chooser();
    const edge = { passMs: 10, rowMs: 0.5, waitMs: 18 };
    let changes = 0;
    let before = choice.choose(16);
    for (let i = 0; i < 400; i++) {
      const rows = before === 2 ? 8 : 16;
      const noise = i % 2 === 0 ? 1.3 : 0.7;
      choice.add({ rows, engineMs: edge.passMs + edge.rowMs * rows, waitedMs: edge.waitMs * noise });
      const microBatches = choice.choose(16);
      if (microBatches !== before) changes++;
      before = microBatches;
    }
    expect(changes).toBeLessThanOrEqual(1);
  });
});
