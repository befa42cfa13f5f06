import { f16Exponent } from '@shoal/model';
import { largestStep, ROW_BLOCK, type RowFormat } from '@shoal/protocol';

/** How far one row of an answer may be from the coordinator's own. For the calibration, see docs/adr/0007-audits.md. */
export interface Bounds {
  /** Bound of ‖answer − expected‖ / ‖expected‖. */
  maxRelativeL2: number;
  /** Bound of |‖answer‖ − ‖expected‖| / ‖expected‖: scaling changes a row's norm as much as the row, noise does not. */
  maxNormDeviation: number;
  /** How the answer was rounded on the wire. For int8, only differences that this rounding does not explain count. */
  rowFormat: RowFormat;
}

export interface Comparison {
  /** ‖answer − expected‖ / ‖expected‖, for int8 beyond rounding; NaN if the answer has one. */
  relativeL2: number;
  /** |‖answer‖ − ‖expected‖| / ‖expected‖, for int8 beyond the effect of rounding on a norm. */
  normDeviation: number;
  verdict: 'match' | 'mismatch' | 'incomparable';
}

/** Largest finite f16. */
const MAX_F16 = 65_504;
/**
 * Absolute error allowed for each value, × 2^exponent: below 2⁻¹⁴, f16 values are 2⁻²⁴ apart, so a small row's relative error means
 * nothing.
 */
const F16_SUBNORMAL_SPACING = 2 ** -24;
/** Allowed effect of rounding on a norm, in standard deviations: fewer than one honest row in a billion exceeds it. */
const NORM_DEVIATIONS = 6;

/**
 * Compares one row of an answer with the coordinator's own, both [hiddenSize]. `incomparable`: the correct values are
 * not finite, or exceed what f16 with an exponent can carry, so there is no honest answer.
 */
export function compareRow(answer: Float32Array, expected: Float32Array, bounds: Bounds): Comparison {
  const exponent = f16Exponent(expected);
  const { distance, answered, norm, normNoise } =
    bounds.rowFormat === 'int8'
      ? beyondRounding(answer, expected, exponent ?? 0, bounds)
      : distanceOf(answer, expected);
  const slack = Math.sqrt(expected.length) * F16_SUBNORMAL_SPACING * scaleOf(exponent ?? 0);
  const deviation = Math.max(0, Math.abs(answered - norm) - normNoise);
  // NaN makes both comparisons false: a mismatch.
  const near = distance <= bounds.maxRelativeL2 * norm + slack && deviation <= bounds.maxNormDeviation * norm + slack;
  return {
    relativeL2: ratio(distance, norm),
    normDeviation: ratio(deviation, norm),
    verdict: exponent === undefined ? 'incomparable' : near ? 'match' : 'mismatch',
  };
}

/**
 * The factor of a row's f16 values. With an exponent, the other side may have chosen the next one, if its largest value lies
 * just above a power of two.
 */
function scaleOf(exponent: number): number {
  return exponent === 0 ? 1 : 2 ** (exponent + 1);
}

/**
 * L2 norms of the difference that counts (`distance`), of the answer (`answered`) and of the expected row (`norm`), and the
 * effect of rounding on the norm that is allowed (`normNoise`).
 */
function distanceOf(answer: Float32Array, expected: Float32Array) {
  let [distance, answered, norm] = [0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [answer[i]!, expected[i]!];
    distance += (a - e) ** 2;
    answered += a * a;
    norm += e * e;
  }
  [distance, answered, norm] = [Math.sqrt(distance), Math.sqrt(answered), Math.sqrt(norm)];
  return { distance, answered, norm, normNoise: 0 };
}

/**
 * Rounding to int8 moves a value by up to half a step, in total 5e-3 of a row's norm, as much as the lies to be caught. But it
 * never moves a value further than that, so only the part of a difference beyond half a step counts. Values that differ by
 * d ≪ step before rounding are rounded differently with probability d / step, and are then at most d beyond the half step. So
 * what counts grows as d^1.5: f32 rounding nearly vanishes, and a lie stays visible.
 */
function beyondRounding(answer: Float32Array, expected: Float32Array, exponent: number, { maxRelativeL2 }: Bounds) {
  const all = distanceOf(answer, expected);
  const factor = 2 ** exponent;
  const scaled = exponent === 0 ? expected : expected.map((value) => value / factor);
  let [distance, noise] = [0, 0];
  for (let first = 0; first < expected.length; first += ROW_BLOCK) {
    const end = Math.min(first + ROW_BLOCK, expected.length);
    // The tab's scale depends on its own largest values, which may differ from ours as far as the bounds allow.
    const step = largestStep(scaled, first, end, (maxRelativeL2 * all.norm) / factor) * factor;
    for (let i = first; i < end; i++) {
      const e = expected[i]!;
      // Near the end of f16's range the largest code cannot be reached.
      const reach = Math.abs(e) > MAX_F16 * factor - step ? step : step / 2;
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
