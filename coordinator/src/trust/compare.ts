import { ROW_BLOCK, type RowFormat, rowScale, rowScaleByte, SMALLEST_ROW_SCALE } from '@shoal/protocol';

/** How far one row of an answer may lie from the coordinator's own computation of it. Calibrated: docs/adr/0007-audits.md. */
export interface Bounds {
  /** Of ‖answer − expected‖ / ‖expected‖. */
  maxRelativeL2: number;
  /** Of |‖answer‖ − ‖expected‖| / ‖expected‖: what only scales a row moves its norm as far as the row, what is noise does not. */
  maxNormDeviation: number;
  /** What the answer was rounded to on its way. In int8 both distances count only what that rounding does not explain. */
  rowFormat: RowFormat;
}

export interface Comparison {
  /** ‖answer − expected‖ / ‖expected‖, of int8 beyond the cells; NaN where the answer has one. */
  relativeL2: number;
  /** |‖answer‖ − ‖expected‖| / ‖expected‖, of int8 beyond what rounding does to a norm. */
  normDeviation: number;
  verdict: 'match' | 'mismatch' | 'incomparable';
}

/** The largest finite half: what a row on the wire can hold. */
const MAX_F16 = 65_504;
/**
 * Absolute error that each value may have besides: below 2⁻¹⁴ the halves on the wire are 2⁻²⁴ apart, so that a small row's
 * relative error means nothing.
 */
const F16_SUBNORMAL_SPACING = 2 ** -24;
/** Standard deviations of rounding's effect on a norm that are granted: no honest row of a billion has more. */
const NORM_DEVIATIONS = 6;

/**
 * One row of an answer against the coordinator's own. `incomparable`: the right values exceed what f16 can carry, so that no
 * honest answer exists. Both are [hiddenSize].
 */
export function compareRow(answer: Float32Array, expected: Float32Array, bounds: Bounds): Comparison {
  const { distance, answered, norm, largest, normNoise } =
    bounds.rowFormat === 'int8' ? beyondCells(answer, expected, bounds) : apart(answer, expected);
  const slack = Math.sqrt(expected.length) * F16_SUBNORMAL_SPACING;
  const deviation = Math.max(0, Math.abs(answered - norm) - normNoise);
  // Written so that NaN is a mismatch.
  const near = distance <= bounds.maxRelativeL2 * norm + slack && deviation <= bounds.maxNormDeviation * norm + slack;
  return {
    relativeL2: ratio(distance, norm),
    normDeviation: ratio(deviation, norm),
    verdict: largest > MAX_F16 ? 'incomparable' : near ? 'match' : 'mismatch',
  };
}

interface Apart {
  /** L2 norms: of what counts of the difference, of the answer, of what was expected. */
  distance: number;
  answered: number;
  norm: number;
  largest: number;
  /** By so much rounding may change the norm. */
  normNoise: number;
}

function apart(answer: Float32Array, expected: Float32Array): Apart {
  let [distance, answered, norm, largest] = [0, 0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [answer[i]!, expected[i]!];
    distance += (a - e) ** 2;
    answered += a * a;
    norm += e * e;
    largest = Math.max(largest, Math.abs(e));
  }
  return {
    distance: Math.sqrt(distance),
    answered: Math.sqrt(answered),
    norm: Math.sqrt(norm),
    largest,
    normNoise: 0,
  };
}

/**
 * Rounding to int8 moves a value by up to half a step, 5e-3 of a row's norm in all, which is as much as the lies to be caught.
 * But it moves none any further, whatever the tab computed before: so only what lies beyond that half step counts. Values that
 * are apart by d ≪ step before rounding land in different cells with probability d / step and are then at most d beyond the
 * half step, so what counts grows as d^1.5: rounding in f32 all but vanishes, and a lie stays visible.
 */
function beyondCells(answer: Float32Array, expected: Float32Array, { maxRelativeL2 }: Bounds): Apart {
  const all = apart(answer, expected);
  let [distance, noise] = [0, 0];
  for (let first = 0; first < expected.length; first += ROW_BLOCK) {
    const end = Math.min(first + ROW_BLOCK, expected.length);
    let max = 0;
    for (let i = first; i < end; i++) max = Math.max(max, Math.abs(expected[i]!));
    // The tab's scale follows from its own largest value, which may be as far from ours as bounds allow.
    const scale = rowScale(rowScaleByte(Math.min(MAX_F16, max + maxRelativeL2 * all.norm)));
    const step = Math.max(scale, SMALLEST_ROW_SCALE);
    for (let i = first; i < end; i++) {
      const e = expected[i]!;
      // Near the end of f16 the largest code is out of reach.
      const reach = Math.abs(e) > MAX_F16 - step ? step : step / 2;
      distance += Math.max(0, Math.abs(answer[i]! - e) - reach) ** 2;
      noise += (e * step) ** 2 / 12;
    }
  }
  const normNoise = all.norm === 0 ? 0 : (NORM_DEVIATIONS * Math.sqrt(noise)) / all.norm;
  return { ...all, distance: Math.sqrt(distance), normNoise };
}

function ratio(distance: number, norm: number): number {
  return norm === 0 ? (distance === 0 ? 0 : Number.POSITIVE_INFINITY) : distance / norm;
}
