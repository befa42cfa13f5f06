import { describe, expect, it } from 'vitest';
import { ConfirmedWork } from './confirmed-work.ts';

describe('the credit of a visit', () => {
  it('is for what came before a row that was found right', () => {
    const work = new ConfirmedWork();
    expect(work.look({ usedRows: 100, lastGoodRow: 0 }, 10)).toEqual({ rows: 0, tokens: 0 });
    expect(work.look({ usedRows: 200, lastGoodRow: 100 }, 20)).toEqual({ rows: 100, tokens: 10 });
    // Half of the second hundred.
    expect(work.look({ usedRows: 200, lastGoodRow: 150 }, 20)).toEqual({ rows: 150, tokens: 15 });
    expect(work.look({ usedRows: 260, lastGoodRow: 260 }, 26)).toEqual({ rows: 260, tokens: 26 });
  });

  it('never goes back, nor beyond what was done, however long no row is audited', () => {
    const work = new ConfirmedWork();
    let before = { rows: 0, tokens: 0 };
    let good = 0;
    for (let i = 1; i <= 500; i++) {
      const used = 7 * i;
      if (i % 90 === 0) good = used - 3;
      const now = work.look({ usedRows: used, lastGoodRow: good }, i);
      expect(now.tokens).toBeGreaterThanOrEqual(before.tokens);
      expect(now.rows).toBeLessThanOrEqual(good);
      // In a row seven tokens a look: never more than its rows.
      expect(now.tokens).toBeLessThanOrEqual(Math.ceil(now.rows / 7));
      before = { ...now };
    }
    expect(before.tokens).toBeGreaterThan(440);
  });

  it('counts at once what is checked by tests alone', () => {
    const work = new ConfirmedWork();
    expect(work.look({ usedRows: 0, lastGoodRow: 0 }, 5)).toEqual({ rows: 0, tokens: 5 });
  });
});
