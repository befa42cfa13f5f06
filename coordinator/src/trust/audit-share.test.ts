import { expect, it } from 'vitest';
import { auditShare, MIN_AUDIT_SHARE, PROBATION_ROWS, RowDraw } from './audit-share.ts';
import { drawFrom } from './testing/fixtures.ts';

it('auditShare audits everything at first, then less and less, but never nothing', () => {
  expect(auditShare(0)).toBe(1);
  expect(auditShare(PROBATION_ROWS)).toBe(1);
  expect(auditShare(10 * PROBATION_ROWS)).toBeCloseTo(0.1);
  expect(auditShare(1e9)).toBe(MIN_AUDIT_SHARE);
});

it('RowDraw draws one row of each window uniformly, and leaves no gap longer than two windows', () => {
  const draw = new RowDraw(drawFrom(5));
  const places = Array.from({ length: 50 }, () => 0);
  let last = -1;
  for (let i = 0; i < 100_000; i++) {
    if (!draw.next(MIN_AUDIT_SHARE)) continue;
    expect(i - last).toBeLessThanOrEqual(99);
    last = i;
    places[i % 50]!++;
  }
  expect(places.reduce((sum, n) => sum + n, 0)).toBe(2000);
  // 40 each; six standard deviations.
  for (const n of places) expect(Math.abs(n - 40)).toBeLessThan(6 * Math.sqrt(40));
});
