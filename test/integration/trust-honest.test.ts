import { createRng, decodeF16, encodeF16, normalDraw } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { boundsFor, calibration } from '../../coordinator/src/trust/bounds.ts';
import { compareRow } from '../../coordinator/src/trust/compare.ts';
import { auditHonestTabs, realAudits } from './honest-audits.ts';

/** They take a minute on two cores; a busy machine has several. */
const TIMEOUT_MS = 600_000;

describe('an honest tab', () => {
  it.each(['f16', 'int8'] as const)(
    'is never found wrong in many audits of %s rows, on whichever backend',
    async (rowFormat) => {
      const { right, incomparable, ...bad } = await auditHonestTabs(rowFormat);
      expect(bad).toEqual({ wrong: 0, retracted: 0, absurd: 0 });
      // Rows of a hundred times the usual size may exceed what f16 can carry; nobody is blamed for them.
      expect(right + incomparable).toBe(realAudits(rowFormat));
      expect(right).toBeGreaterThan(0.99 * realAudits(rowFormat));
    },
    TIMEOUT_MS,
  );

  it('keeps the margin that its bounds were given, in a million draws from what was measured', () => {
    const rng = createRng(12);
    const measured = calibration.models.flatMap(({ modelDigest, backends }) =>
      Object.entries(backends).map(([name, figures]) => ({
        figures,
        bounds: boundsFor(modelDigest, name === 'reference' || name === 'wasm' ? name : 'webgpu'),
      })),
    );
    let nearest = 0;
    for (let i = 0; i < 1_000_000; i++) {
      const { figures, bounds } = measured[Math.floor(rng() * measured.length)]!;
      const row = Math.floor(rng() * figures.sampleRelativeL2.length);
      nearest = Math.max(
        nearest,
        figures.sampleRelativeL2[row]! / bounds.maxRelativeL2,
        figures.sampleNormDeviation[row]! / bounds.maxNormDeviation,
      );
    }
    expect(nearest).toBeLessThan(0.5);
  });

  it('is as near as the theorem says: rounding to f16 moves no row by more than 2⁻¹¹ of its norm', () => {
    const rng = createRng(13);
    const free = { maxRelativeL2: 2 ** -11, maxNormDeviation: 2 ** -11, rowFormat: 'f16' } as const;
    for (let i = 0; i < 100_000; i++) {
      const row = Float32Array.from(
        { length: 1 + Math.floor(rng() * 12) },
        () => 10 ** (6 * rng() - 4) * normalDraw(rng),
      );
      expect(compareRow(decodeF16(encodeF16(row)), row, free).verdict).toBe('match');
    }
  });
});
