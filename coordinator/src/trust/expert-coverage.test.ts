import { type ExpertAdapter, ItemAdaptersBuilder } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { ExpertCoverage, MAX_UNAUDITED_USES } from './expert-coverage.ts';
import { drawFrom, usedRow } from './testing/fixtures.ts';

describe('ExpertCoverage', () => {
  it('may ask for the first audit at any use, and for later ones only in the second half of the maximum', () => {
    const coverage = new ExpertCoverage(drawFrom(23));
    const first: number[] = [];
    for (let expert = 0; expert < 1000; expert++) {
      const row = usedRow([expert], [1]);
      let uses = 1;
      while (!coverage.use(row)) uses++;
      first.push(uses);
      coverage.audited(row);
      let later = 1;
      while (!coverage.use(row)) later++;
      expect(later).toBeGreaterThan(MAX_UNAUDITED_USES / 2);
      expect(later).toBeLessThanOrEqual(MAX_UNAUDITED_USES);
    }
    expect(Math.min(...first)).toBeLessThan(10);
    expect(Math.max(...first)).toBeGreaterThan(MAX_UNAUDITED_USES - 10);
  });

  it('counts what each adapter adds to an expert by itself', () => {
    const coverage = new ExpertCoverage(() => MAX_UNAUDITED_USES - 1);
    const plain = usedRow([1], [1]);
    const [often, rarely] = [{}, {}].map((adapter: ExpertAdapter) => {
      const lists = new ItemAdaptersBuilder();
      lists.add(adapter);
      lists.end();
      return { ...plain, adapters: lists.build() };
    });
    // One use of the rare one for each nine of the expert's others, whose audits are not its own.
    let uses = 0;
    for (let i = 1; ; i++) {
      const row = i % 10 === 0 ? rarely! : i % 2 ? often! : plain;
      if (row === rarely) uses++;
      if (!coverage.use(row)) continue;
      if (row === rarely && uses >= MAX_UNAUDITED_USES) break;
      coverage.audited(row === rarely ? plain : row);
      expect(uses).toBeLessThan(MAX_UNAUDITED_USES);
    }
    expect(uses).toBe(MAX_UNAUDITED_USES);
  });

  it('does not count a row for an expert with a small share of its weight', () => {
    // The first use is due, and then none before the 251st.
    const coverage = new ExpertCoverage(() => 0);
    const faint = usedRow([1, 2], [0.97, 0.03]);
    expect(coverage.use(faint)).toBe(true);
    coverage.audited(faint);
    expect(coverage.use(faint)).toBe(false);
    expect(coverage.use(usedRow([1, 2], [0.5, 0.5]))).toBe(true);
  });
});
