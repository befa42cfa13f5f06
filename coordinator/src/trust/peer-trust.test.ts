import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { MIN_AUDIT_SHARE } from './audit-share.ts';
import { MAX_UNAUDITED_USES } from './expert-coverage.ts';
import { believed } from './peer-trust.ts';
import { trusted, usedRow } from './testing/fixtures.ts';

describe('PeerTrust.use', () => {
  it('puts off an audit without room for it, and counts it', () => {
    const trust = trusted();
    const row = usedRow([0], [1]);
    expect([trust.use(row, false), trust.use(row, false), trust.use(row, true)]).toEqual([false, false, true]);
    expect(trust.putOff).toBe(2);
  });

  it('audits every expert within 500 uses, with hardly any further audits', () => {
    const rng = createRng(17);
    const trust = trusted();
    trust.record.consecutiveRight = 1e6;
    const [experts, topK, rows] = [64, 6, 200_000];
    const uses = new Int32Array(experts);
    let longest = 0;
    let audits = 0;
    for (let i = 0; i < rows; i++) {
      // The last expert is used hundreds of times less often than the first.
      const chosen = new Set<number>();
      while (chosen.size < topK) chosen.add(Math.floor(experts * rng() ** 4));
      const audited = trust.use(usedRow([...chosen], Array(topK).fill(1 / topK)), true);
      if (audited) audits++;
      for (const expert of chosen) {
        longest = Math.max(longest, ++uses[expert]!);
        if (audited) uses[expert] = 0;
      }
    }
    expect(longest).toBeLessThanOrEqual(MAX_UNAUDITED_USES);
    expect(audits / rows).toBeGreaterThanOrEqual(MIN_AUDIT_SHARE);
    expect(audits / rows).toBeLessThan(1.05 * MIN_AUDIT_SHARE);
  });
});

describe('PeerTrust.rowsAhead', () => {
  it('is as many rows as were right, between half a large lap and four, less those used since the last audit', () => {
    const trust = trusted();
    const use = (rows: number): void => {
      for (let i = 0; i < rows; i++) trust.use(usedRow([0], [1]), true);
    };
    expect(trust.rowsAhead).toBe(256);
    use(250);
    expect(trust.rowsAhead).toBe(6);
    use(30);
    expect(trust.rowsAhead).toBe(0);
    trust.audited(140);
    trust.audited(20);
    expect(trust.rowsAhead).toBe(256 - 140);
    trust.record.consecutiveRight = 300;
    expect(trust.rowsAhead).toBe(300 - 140);
    trust.record.consecutiveRight = 1e6;
    expect(trust.rowsAhead).toBe(2048 - 140);
  });

  it('has no end for a peer that is not audited', () => {
    expect(believed('f16').rowsAhead).toBe(Number.POSITIVE_INFINITY);
  });
});
