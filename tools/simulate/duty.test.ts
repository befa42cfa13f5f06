import { beforeAll, describe, expect, it } from 'vitest';
import { type DutyResult, simulateDuty } from './duty.ts';

describe('a tab that lends a quarter of its time, at full demand', () => {
  const demand = { others: 2, streams: 8, seconds: 60 };
  let quarter: DutyResult;
  let without: DutyResult;
  beforeAll(async () => {
    quarter = await simulateDuty({ ...demand, share: 0.25 });
    // Only for the waits between its tokens, of which a third of a minute has thousands.
    without = await simulateDuty({ ...demand, seconds: 20, share: undefined });
  });

  it('is busy for 22 to 28 % of a minute', () => {
    expect(quarter.busyShare).toBeGreaterThan(0.22);
    expect(quarter.busyShare).toBeLessThan(0.28);
  });

  it('makes no stream wait longer than if it were not there', () => {
    expect(quarter.gapMs.p95).toBeLessThan(1.1 * without.gapMs.p95);
  });

  it('neither fails laps nor is sent away', () => {
    expect(quarter).toMatchObject({ failures: 0, dismissals: 0 });
  });
});
