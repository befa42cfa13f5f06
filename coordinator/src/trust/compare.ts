/** How far one row of an answer may lie from the coordinator's own computation of it. Calibrated: docs/adr/0007-audits.md. */
export interface Bounds {
  /** Of ‖answer − expected‖ / ‖expected‖. */
  maxRelativeL2: number;
  /** Of |‖answer‖ − ‖expected‖| / ‖expected‖: what only scales a row moves its norm as far as the row, what is noise does not. */
  maxNormDeviation: number;
}

export interface Comparison {
  /** ‖answer − expected‖ / ‖expected‖; NaN where the answer has one. */
  relativeL2: number;
  /** |‖answer‖ − ‖expected‖| / ‖expected‖ */
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

/**
 * One row of an answer against the coordinator's own. `incomparable`: the right values exceed what f16 can carry, so that no
 * honest answer exists. Both are [hiddenSize].
 */
export function compareRow(answer: Float32Array, expected: Float32Array, bounds: Bounds): Comparison {
  let distance = 0;
  let answered = 0;
  let norm = 0;
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [answer[i]!, expected[i]!];
    distance += (a - e) ** 2;
    answered += a * a;
    norm += e * e;
    largest = Math.max(largest, Math.abs(e));
  }
  [distance, answered, norm] = [Math.sqrt(distance), Math.sqrt(answered), Math.sqrt(norm)];
  const slack = Math.sqrt(expected.length) * F16_SUBNORMAL_SPACING;
  const apart = Math.abs(answered - norm);
  // Written so that NaN is a mismatch.
  const near = distance <= bounds.maxRelativeL2 * norm + slack && apart <= bounds.maxNormDeviation * norm + slack;
  return {
    relativeL2: ratio(distance, norm),
    normDeviation: ratio(apart, norm),
    verdict: largest > MAX_F16 ? 'incomparable' : near ? 'match' : 'mismatch',
  };
}

function ratio(distance: number, norm: number): number {
  return norm === 0 ? (distance === 0 ? 0 : Number.POSITIVE_INFINITY) : distance / norm;
}
