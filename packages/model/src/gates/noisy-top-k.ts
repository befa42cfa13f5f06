import { z } from 'zod';
import { createRng, normalDraw } from '../rng.ts';
import { type Assignments, checkTopK, type GateKind, type GateLayer, type GateRows } from './gate-kind.ts';
import { alike, type Floats, softplus } from './scores.ts';
import { selectionConfig, selectTopK, topKSettings, uniformAssignments } from './top-k.ts';

const settings = z.strictObject({
  k: z.int().min(1),
  /** Factor of the noise's standard deviation: 0 for none, as at inference, and 1 as in training. */
  noiseScale: z.number().min(0).max(1e6).default(0),
  seed: z.int().min(0).max(0xffff).default(0),
});

/** Draws of the standard normal distribution for one row, in the order of experts. */
export type RowNoise = (row: number) => () => number;

const SOFTMAX = z.object(topKSettings);

/**
 * H = logits + N(0, 1) · softplus(x·W_noise); the k largest of H; weights are their softmax. Where no W_noise is learned, the
 * standard deviation is the scale itself. The noise of a row follows from the seed, the layer and the row's position alone, so
 * that it is the same in whatever batch the row is.
 */
export const noisyTopK: GateKind<z.infer<typeof settings>, Assignments> = {
  title: 'Noisy top k',
  source: 'Shazeer et al. 2017, eq. 3–5',
  sees: 'row',
  settings,
  open: ({ k, noiseScale, seed }, layer) => {
    checkTopK('noisy-top-k', k, layer);
    return (rows) => chooseNoisy(k, layer, rows, noiseScale, seededNoise(seed, layer, rows));
  },
};

/** As the gate, with draws of the caller's. */
export function chooseNoisy(
  k: number,
  layer: GateLayer,
  rows: GateRows,
  noiseScale: number,
  noise: RowNoise,
): Assignments {
  const { numRows, logits } = rows;
  const config = selectionConfig(SOFTMAX.parse({ k }), { ...layer, bias: null });
  const noised = noiseScale === 0 ? logits : addNoise(rows, layer.numExperts, noiseScale, noise);
  return uniformAssignments(selectTopK<Floats>(config, noised, null, numRows, {}), numRows);
}

function addNoise(
  { numRows, logits, noiseLogits }: GateRows,
  numExperts: number,
  noiseScale: number,
  noise: RowNoise,
): Floats {
  const noised = alike(logits, logits.length);
  for (let row = 0; row < numRows; row++) {
    const draw = noise(row);
    for (let i = row * numExperts; i < (row + 1) * numExperts; i++) {
      const deviation = noiseScale * (noiseLogits ? softplus(noiseLogits[i]!) : 1);
      noised[i] = logits[i]! + draw() * deviation;
    }
  }
  return noised;
}

/** One generator a row. Positions are below 2²⁴ and layers below 2¹¹, so that no two (seed, layer, position) share one. */
function seededNoise(seed: number, { layer }: GateLayer, { positions }: GateRows): RowNoise {
  return (row) => {
    const rng = createRng((seed * 2 ** 11 + layer) * 2 ** 24 + (positions?.[row] ?? row));
    return () => normalDraw(rng);
  };
}
