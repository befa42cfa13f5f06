import type { AdapterInfo, RowFormat } from '@shoal/protocol';
import { z } from 'zod';
import calibrationJson from './calibration.json' with { type: 'json' };
import type { Bounds } from './compare.ts';

const quantilesSchema = z.object({ p50: z.number(), p99: z.number(), max: z.number().positive() });

/** Most rows have nothing that rounding does not explain. */
const int8QuantilesSchema = z.object({ p50: z.number(), p99: z.number(), max: z.number().nonnegative() });

/** As test/integration/trust-calibrate.ts measures and writes it. */
const calibrationSchema = z.object({
  models: z.array(
    z.object({
      modelId: z.string(),
      modelDigest: z.string(),
      /** By backend. */
      backends: z.record(
        z.string(),
        z.object({
          relativeL2: quantilesSchema,
          normDeviation: quantilesSchema,
          /** Where rows travel as int8: beyond what that rounding explains. */
          int8: z.object({ relativeL2: int8QuantilesSchema, normDeviation: int8QuantilesSchema }).optional(),
          sampleRelativeL2: z.array(z.number()),
          sampleNormDeviation: z.array(z.number()),
        }),
      ),
    }),
  ),
});

export const calibration = calibrationSchema.parse(calibrationJson);

/**
 * Bounds are so many times the largest distance that was measured. It is 3e-4, nearly all of it the rounding to f16 on the
 * wire, which no honest row can exceed by more than 2⁻¹¹ (4.9e-4); so four times leaves 7e-4 for what GPUs compute
 * differently from each other, of which 7e-5 was seen.
 */
export const MARGIN = 4;

/**
 * For a model that was not calibrated: above what f16 accumulation would do (3e-3), below wrong int8 weights (9e-3), noise
 * of 1 % and a scale of 1.01.
 */
const UNCALIBRATED: Bounds = { maxRelativeL2: 5e-3, maxNormDeviation: 5e-3, rowFormat: 'f16' };
/** The same difference, f16 accumulation, beyond the cells of int8: it falls faster than the difference (compare.ts). */
const UNCALIBRATED_INT8: Bounds = { maxRelativeL2: 2e-3, maxNormDeviation: 5e-3, rowFormat: 'int8' };

export const uncalibrated = (rowFormat: RowFormat): Bounds => (rowFormat === 'int8' ? UNCALIBRATED_INT8 : UNCALIBRATED);

export type BackendName = 'reference' | 'webgpu' | 'wasm';

/** What computes on a peer that describes itself so. Its own word: the bounds of all backends must hold a liar. */
export function backendOf(adapter: Pick<AdapterInfo, 'architecture'>): BackendName {
  const { architecture } = adapter;
  return architecture === 'reference' || architecture === 'wasm' ? architecture : 'webgpu';
}

/**
 * How far an honest answer of this model (Manifest.modelDigest: its very experts) from this backend may lie from ours. The
 * same where rows travel as int8: there only counts what that rounding does not explain, which calibration finds to be less
 * than what f16 does, so that as much is left for what GPUs compute differently.
 */
export function boundsFor(modelDigest: string, backend: BackendName, rowFormat: RowFormat = 'f16'): Bounds {
  const measured = calibration.models.find((model) => model.modelDigest === modelDigest)?.backends[backend];
  if (!measured) return uncalibrated(rowFormat);
  return {
    maxRelativeL2: MARGIN * measured.relativeL2.max,
    maxNormDeviation: MARGIN * measured.normDeviation.max,
    rowFormat,
  };
}
