import { describe, expect, it } from 'vitest';
import { backendOf, boundsFor, calibration, MARGIN, uncalibrated } from './bounds.ts';

describe('boundsFor', () => {
  it('is a multiple of what was measured for the model, and cautious for any other model', () => {
    expect(calibration.models.map((model) => model.modelId)).toContain('tiny-stories');
    for (const { modelDigest, backends } of calibration.models) {
      for (const backend of ['reference', 'webgpu'] as const) {
        const { maxRelativeL2, maxNormDeviation } = boundsFor(modelDigest, backend);
        expect(maxRelativeL2).toBeGreaterThan(3 * backends[backend]!.relativeL2.max);
        // Differences beyond int8 rounding are smaller than those of f16.
        expect(backends[backend]!.int8!.relativeL2.max).toBeLessThan(maxRelativeL2 / MARGIN);
        expect(backends[backend]!.int8!.normDeviation.max).toBeLessThan(maxNormDeviation / MARGIN);
        // More than f16 rounding alone can cause; less than a fifth of the smallest lie to be caught.
        for (const bound of [maxRelativeL2, maxNormDeviation]) {
          expect(bound).toBeGreaterThan(2 ** -11);
          expect(bound).toBeLessThan(2e-3);
        }
      }
    }
    expect(boundsFor('of no model', 'webgpu')).toEqual(uncalibrated('f16'));
  });
});

it('backendOf follows from the architecture', () => {
  expect(backendOf({ architecture: 'reference' })).toBe('reference');
  expect(backendOf({ architecture: 'ampere' })).toBe('webgpu');
});
