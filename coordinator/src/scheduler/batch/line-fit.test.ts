import { expect, it } from 'vitest';
import { LineFit } from './line-fit.ts';

it('learns what any takes and what a row does, and follows when they change', () => {
  const fit = new LineFit();
  expect(fit.isEmpty).toBe(true);
  for (const rows of [16, 8, 20, 8, 16, 64]) fit.add(rows, 3 + 0.25 * rows);
  expect(fit.line.baseMs).toBeCloseTo(3, 6);
  expect(fit.line.rowMs).toBeCloseTo(0.25, 6);
  expect(fit.at(100)).toBeCloseTo(28, 6);
  for (let i = 0; i < 600; i++) fit.add(8 + (i % 3) * 8, 10);
  expect(fit.at(100)).toBeCloseTo(10, 2);
  fit.clear();
  expect(fit.isEmpty).toBe(true);
});

it('gives rows no price that it has not seen, nor a negative one', () => {
  const alike = new LineFit();
  for (let i = 0; i < 9; i++) alike.add(16, 10 + (i % 2));
  expect(alike.line.rowMs).toBe(0);
  const falling = new LineFit();
  for (const rows of [10, 20, 30]) falling.add(rows, 50 - rows);
  expect(falling.line.rowMs).toBe(0);
  expect(falling.line.baseMs).toBeGreaterThan(0);
});
