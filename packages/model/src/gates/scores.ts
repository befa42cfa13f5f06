import { sigmoid } from '../math.ts';

/** Gates compute in the precision of their logits: the engines' are float32, and float64 is for comparisons and study. */
export type Floats = Float32Array | Float64Array;

/** How a gate's logits become scores. The square root of softplus is DeepSeek-V4's. */
export type Scoring = 'softmax' | 'sigmoid' | 'sqrt-softplus';

/** An array of zeros of the same type as `values`. */
export function alike<Values extends Floats>(values: Values, length: number): Values {
  return (values instanceof Float32Array ? new Float32Array(length) : new Float64Array(length)) as Values;
}

/** 0, 1, … length − 1. */
export function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}

/** Writes one row's scores; both arrays are [numExperts]. */
export function scoreRow(scoring: Scoring, logits: Floats, scores: Floats): void {
  switch (scoring) {
    case 'sigmoid':
      for (let e = 0; e < logits.length; e++) scores[e] = sigmoid(logits[e]!);
      return;
    case 'softmax':
      return softmaxRow(logits, scores);
    case 'sqrt-softplus':
      for (let e = 0; e < logits.length; e++) scores[e] = Math.sqrt(softplus(logits[e]!));
      return;
    default:
      scoring satisfies never;
  }
}

export function softmaxRow(logits: Floats, scores: Floats): void {
  let max = Number.NEGATIVE_INFINITY;
  for (let e = 0; e < logits.length; e++) if (logits[e]! > max) max = logits[e]!;
  let sum = 0;
  for (let e = 0; e < logits.length; e++) sum += Math.exp(logits[e]! - max);
  for (let e = 0; e < logits.length; e++) scores[e] = Math.exp(logits[e]! - max) / sum;
}

/** ln(1 + eˣ), which for large x is x and never overflows. */
export function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

/** The k candidates with the largest values, best first. `candidates` ascend, so that the lower index wins a tie. */
export function topIndices(values: Floats, candidates: readonly number[], k: number): number[] {
  const left = [...candidates];
  const chosen: number[] = [];
  while (chosen.length < k) {
    let best = 0;
    for (let i = 1; i < left.length; i++) if (values[left[i]!]! > values[left[best]!]!) best = i;
    chosen.push(...left.splice(best, 1));
  }
  return chosen;
}
