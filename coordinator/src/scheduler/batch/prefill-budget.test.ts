import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { PassCosts } from './pass-costs.ts';
import { FIRST_PREFILL_ROWS, MIN_PREFILL_ROWS, PrefillBudget, UNFELT_PASS_MS } from './prefill-budget.ts';
import { aloneInFlight } from '../testing/pass-times.ts';

const LAPS = 5;

interface Model {
  /** Milliseconds of any pass, of a decoding row, of a prompt row. */
  pass: number;
  row: number;
  promptRow: number;
  /** Largest relative change of a pass's time. */
  noise?: number;
  /** One in `outliers` takes ten times as long. */
  outliers?: number;
}

/** Runs passes with decoding sequences and an endless prompt; returns how much longer the prompt made each. */
function drive(
  { costs, budget }: Budgeted,
  model: Model,
  options: {
    passes?: number;
    seed?: number;
    rows?: (pass: number) => number;
    draftMs?: (promptRows: number) => number;
  } = {},
) {
  const { passes = 400, seed = 1, rows = () => 4, draftMs = () => 0 } = options;
  const rng = createRng(seed);
  const trace: { promptRows: number; stallMs: number; lapMs: number }[] = [];
  for (let i = 0; i < passes; i++) {
    const decodeRows = rows(i);
    const promptRows = budget.rowsBeside(decodeRows, 1);
    const alone = model.pass + model.row * decodeRows;
    const stallMs = model.promptRow * promptRows;
    const noisy = (alone + stallMs) * (1 + (rng() * 2 - 1) * (model.noise ?? 0));
    const isOutlier = model.outliers !== undefined && rng() < 1 / model.outliers;
    const passMs = isOutlier ? 10 * noisy : noisy;
    const turnMs = passMs + draftMs(promptRows);
    costs.add({
      rows: decodeRows + promptRows,
      promptRows,
      passMs,
      turnMs,
      shareMs: passMs,
      meanRows: decodeRows + promptRows,
      engineMs: turnMs,
      waitedMs: 0,
    });
    trace.push({ promptRows, stallMs, lapMs: alone / LAPS });
  }
  return trace;
}

interface Budgeted {
  costs: PassCosts;
  budget: PrefillBudget;
}

function newBudget(maxRows = 256, lapsPerPass = LAPS): Budgeted {
  const costs = new PassCosts();
  return { costs, budget: new PrefillBudget({ costs, maxRows, lapsPerPass }) };
}

describe('prompt rows beside running streams', () => {
  it('take the whole chunk where nobody waits for a token', () => {
    expect(newBudget().budget.rowsBeside(0, 1)).toBe(256);
  });

  it('lengthen a pass by one lap’s time and no more, once their cost is known', () => {
    const model = { pass: 100, row: 0.5, promptRow: 0.2 };
    const trace = drive(newBudget(), model);
    expect(trace[0]!.promptRows).toBe(FIRST_PREFILL_ROWS);
    const settled = trace.slice(50).filter(({ promptRows }) => promptRows > 0);
    for (const { stallMs, lapMs } of settled) {
      expect(stallMs).toBeLessThanOrEqual(lapMs * 1.001);
      expect(stallMs).toBeGreaterThan(lapMs * 0.95);
    }
    // One pass in 17 is without them, to measure its cost.
    expect(settled.length).toBeGreaterThan(0.93 * (trace.length - 50));
  });

  it('do so in noise and with passes held up by something else', () => {
    for (let seed = 1; seed <= 3; seed++) {
      const model = { pass: 60, row: 0.3, promptRow: 0.25, noise: 0.1, outliers: 12 };
      const options = { seed, passes: 500, rows: (i: number) => 2 + (Math.floor(i / 7) % 16) };
      const settled = drive(newBudget(), model, options)
        .slice(100)
        .filter(({ promptRows }) => promptRows > 0);
      const ratios = settled.map(({ stallMs, lapMs }) => stallMs / lapMs).sort((a, b) => a - b);
      expect(ratios[Math.floor(ratios.length / 2)]).toBeGreaterThan(0.6);
      expect(ratios[Math.floor(ratios.length / 2)]).toBeLessThan(1.4);
      expect(ratios[Math.floor(ratios.length * 0.95)]).toBeLessThan(2);
    }
  });

  it('follow when rows become dearer or the network slower', () => {
    const budget = newBudget();
    const settledAt = (model: Model): number => drive(budget, model, { passes: 200 }).at(-2)!.promptRows;
    expect(settledAt({ pass: 100, row: 0, promptRow: 0.4 })).toBe(50);
    expect(settledAt({ pass: 100, row: 0, promptRow: 0.8 })).toBe(25);
    expect(settledAt({ pass: 400, row: 0, promptRow: 0.8 })).toBe(100);
  });

  it('are one in any case, which costs no more than one stream more, and never more than the chunk', () => {
    const dear = drive(newBudget(), { pass: 100, row: 1, promptRow: 50 }).slice(50);
    expect(new Set(dear.map(({ promptRows }) => promptRows))).toEqual(new Set([0, MIN_PREFILL_ROWS]));
    const free = drive(newBudget(100), { pass: 100, row: 1, promptRow: 0 }).slice(50);
    expect(new Set(free.map(({ promptRows }) => promptRows))).toEqual(new Set([0, 100]));
  });

  it('lengthen short passes as far as a reader does not notice, whatever a lap takes', () => {
    const settled = drive(newBudget(), { pass: 2, row: 0.5, promptRow: 0.4 }).slice(50);
    expect(new Set(settled.map(({ promptRows }) => promptRows))).toEqual(
      new Set([0, Math.floor((UNFELT_PASS_MS - 2 - 0.5 * 4) / 0.4)]),
    );
  });

  it('double at most from pass to pass, since what was not tried is not known', () => {
    const trace = drive(newBudget(100), { pass: 1000, row: 1, promptRow: 0.01 }, { passes: 80 });
    const steps = [...new Set(trace.map(({ promptRows }) => promptRows))];
    expect(steps).toEqual([8, 0, 16, 32, 64, 100]);
  });

  it('are not held back by a first pass that was cold', () => {
    const { costs, budget } = newBudget();
    const pass = (decodeRows: number, promptRows: number, ms: number): void =>
      costs.add(aloneInFlight({ rows: decodeRows + promptRows, promptRows, ms }));
    pass(0, 40, 1000);
    expect(budget.rowsBeside(1, 1)).toBe(FIRST_PREFILL_ROWS);
    for (let i = 0; i < 4; i++) pass(1, 0, 4);
    pass(0, 10, 6);
    // At most 0.6 ms a row.
    expect(budget.rowsBeside(1, 1)).toBe(20);
    pass(1, 20, 10);
    expect(budget.rowsBeside(1, 1)).toBe(40);
  });

  it('are more where streams may be held up by more laps', () => {
    const budget = newBudget();
    drive(budget, { pass: 100, row: 0, promptRow: 0.4 }, { passes: 100 });
    expect(budget.budget.rowsBeside(4, 1)).toBe(50);
    expect(budget.budget.rowsBeside(4, 1.2)).toBe(60);
  });

  it('are fewer where drafts are made of them, whose time is theirs and no part of a lap', () => {
    const budget = newBudget();
    drive(budget, { pass: 100, row: 0, promptRow: 0.4 }, { draftMs: (promptRows) => 50 + 0.1 * promptRows });
    expect(budget.budget.rowsBeside(4, 1)).toBe(40);
  });

  it('take as long as a pass at most where passes make no laps, or one', () => {
    const [none, one] = [0, 1].map((lapsPerPass) => {
      const budget = newBudget(256, lapsPerPass);
      drive(budget, { pass: 100, row: 0, promptRow: 1 });
      return budget.budget.rowsBeside(4, 1);
    });
    expect([none, one]).toEqual([100, 100]);
  });
});
