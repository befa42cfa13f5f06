import { EXPERT_ACTIVATIONS } from '@shoal/model';
import { QUANTS } from '@shoal/weights';
import { describe, expect, it } from 'vitest';
import { backendOf, boundsFor, calibration, MARGIN, uncalibrated } from './bounds.ts';
import kinds from './testing/kinds.json' with { type: 'json' };

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

describe('the bounds of a model without calibration', () => {
  it('leave every kind of expert in every format the same margin, of all backends and kinds of rows', () => {
    const measured = kinds.measured.map(({ shape, rows }) => `${shape.quant} ${shape.activation ?? 'swiglu'} ${rows}`);
    // Of MXFP4 those that published models have.
    const others = QUANTS.filter((quant) => quant !== 'mxfp4');
    const kindsOf = others.flatMap((quant) => EXPERT_ACTIVATIONS.map((activation) => `${quant} ${activation}`));
    const all = [...kindsOf, 'mxfp4 swiglu', 'mxfp4 clamped-swiglu'];
    expect(measured).toEqual(all.flatMap((kind) => [`${kind} usual`, `${kind} outliers`]));
    for (const { shape, rows, backends } of kinds.measured) {
      for (const [backend, { int8, ...f16 }] of Object.entries(backends)) {
        for (const [rowFormat, distances] of Object.entries({ f16, int8 }) as ['f16' | 'int8', typeof int8][]) {
          const { maxRelativeL2, maxNormDeviation } = uncalibrated(rowFormat);
          const where = JSON.stringify({ shape, rows, backend, rowFormat });
          expect(MARGIN * distances.relativeL2, where).toBeLessThan(maxRelativeL2);
          expect(MARGIN * distances.normDeviation, where).toBeLessThan(maxNormDeviation);
        }
      }
    }
  });
});
