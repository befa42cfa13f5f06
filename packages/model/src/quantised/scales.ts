import { firstNotFinite, placeOf } from '../finite.ts';
import { type Part, partError, type PartReader } from './encoding.ts';

/** Scales of a whole tensor: NaN, ∞, zero and negative numbers are damage, since they would be the fate of every weight. */
export async function tensorScale(reader: PartReader, part: Part): Promise<number> {
  const scale = (await reader.floats(part, 0, 1))[0]!;
  if (scale > 0) return scale;
  throw partError(part, 'bad-scale', `is ${scale}, which no quantiser writes for a whole tensor: download it again`);
}

/**
 * Scales of blocks, rows or groups, which floating-point formats compute from magnitudes. Zero is what some write for weights
 * that are all zero. Throws CheckpointError `not-finite` or `bad-scale`.
 */
export async function magnitudeScales(
  reader: PartReader,
  part: Part,
  first: number,
  count: number,
): Promise<Float32Array> {
  const scales = await reader.floats(part, first, count);
  const bad = scales.findIndex((scale) => scale < 0);
  if (bad < 0) return scales;
  const place = placeOf(first + bad, part.shape);
  throw partError(
    part,
    'bad-scale',
    `the scale at ${place} is ${scales[bad]}, but it is of magnitudes: download it again`,
  );
}

/** Throws CheckpointError `not-finite` if a code and its scale give NaN or ∞. `firstValue` is the place of the first one. */
export function requireFinite(
  part: Part,
  values: Float32Array,
  firstValue: number,
  shape: readonly number[],
): Float32Array {
  const bad = firstNotFinite(values);
  if (bad === undefined) return values;
  const place = placeOf(firstValue + bad, shape);
  throw partError(part, 'not-finite', `the value at ${place} is ${values[bad]}: download it again`);
}
