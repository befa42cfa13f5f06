import type { AdapterInfo, RowFormat } from '@shoal/protocol';
import calibrationJson from './calibration.json' with { type: 'json' };
import type { Bounds } from './compare.ts';

type Distances = Record<'relativeL2' | 'normDeviation', { max: number }>;

/** Distances measured with one backend. `int8`: for int8 rows, the differences that rounding does not explain. */
interface Measured extends Distances {
  int8?: Distances;
  sampleRelativeL2: number[];
  sampleNormDeviation: number[];
}

/** Written by test/integration/trust-calibrate.ts. */
export const calibration: {
  models: { modelId: string; modelDigest: string; backends: Record<string, Measured> }[];
} = calibrationJson;

/**
 * Bounds as a multiple of the largest distance measured. That is 3e-4, nearly all of it rounding to f16 on the wire, which is
 * at most 2⁻¹¹ (4.9e-4); four times leaves 7e-4 for differences between GPUs, of which 7e-5 was seen.
 */
export const MARGIN = 4;

/**
 * For a model without calibration: above the error of f16 accumulation (3e-3), below wrong int8 weights (9e-3), 1 % noise and a
 * scale of 1.01. Between int8 rows, small differences shrink further (compare.ts).
 */
export function uncalibrated(rowFormat: RowFormat): Bounds {
  return { maxRelativeL2: rowFormat === 'int8' ? 2e-3 : 5e-3, maxNormDeviation: 5e-3, rowFormat };
}

export type BackendName = 'reference' | 'webgpu' | 'wasm';

/** The backend that a peer claims to use. A liar may name any, so the bounds of every backend have to catch it. */
export function backendOf(adapter: Pick<AdapterInfo, 'architecture'>): BackendName {
  const { architecture } = adapter;
  return architecture === 'reference' || architecture === 'wasm' ? architecture : 'webgpu';
}

/**
 * How far an honest answer from this backend may be from the coordinator's own, for the model with this Manifest.modelDigest.
 * The bounds of f16 hold for int8 rows too: only differences that int8 rounding does not explain count there, and calibration
 * finds them to be smaller than those of f16.
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
