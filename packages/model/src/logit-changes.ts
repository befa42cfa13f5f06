import { ModelError } from './errors.ts';

/** The tokens that may be drawn: bit t % 32 of word ⌊t / 32⌋ [⌈vocabSize / 32⌉] is 1 if token t may. */
export type TokenMask = Uint32Array;

/**
 * Changes to a row's logits before its token is drawn, in vLLM's order: biases, then penalties. (vLLM 0.22,
 * `vllm.v1.sample.sampler`: allowed tokens, min_tokens, logit_bias, repetition, frequency and presence penalty.) Each step is
 * rounded to float32, as there. A token outside the vocabulary changes nothing.
 */
export interface LogitChanges {
  /** Added to tokens' logits; −∞: the token is not drawn. */
  biases?: ReadonlyMap<number, number> | undefined;
  penalties?: Penalties | undefined;
}

/** What makes tokens that a text has already less likely (or more). */
export interface Penalties {
  /** Logits above 0 are divided by it, others multiplied (Keskar et al. 2019, §4.1); 1: none. For all tokens of `seen`. */
  repetition: number;
  /** Subtracted for each time that the answer has the token; and once if it has it at all. */
  frequency: number;
  presence: number;
  /** [tokens, 2] Each token of prompt and answer once, and how often the answer has it. */
  seen: Int32Array;
}

/** The largest finite float32. A changed logit is never above it, so that no change damages a row. */
const LARGEST = 3.4028234663852886e38;

/** A copy of logits [vocabSize] with the changes made, and −∞ for tokens outside the mask. */
export function changeLogits(
  logits: Float32Array,
  { biases, penalties }: LogitChanges,
  mask: TokenMask | undefined,
): Float32Array {
  const changed = logits.slice();
  if (mask) for (let i = 0; i < changed.length; i++) if (!allows(mask, i)) changed[i] = Number.NEGATIVE_INFINITY;
  for (const [token, bias] of biases ?? []) changed[token] = Math.min(changed[token]! + Math.fround(bias), LARGEST);
  if (penalties) penalise(changed, penalties);
  return changed;
}

function penalise(changed: Float32Array, { repetition, frequency, presence, seen }: Penalties): void {
  const { fround } = Math;
  const [factor, each, once] = [fround(repetition), fround(frequency), fround(presence)];
  for (let i = 0; i < seen.length; i += 2) {
    const [token, count] = [seen[i]!, seen[i + 1]!];
    let logit = changed[token] ?? Number.NEGATIVE_INFINITY;
    // An impossible token stays so, whatever it is multiplied with.
    if (logit === Number.NEGATIVE_INFINITY) continue;
    logit = fround(logit > 0 ? logit / factor : logit * factor);
    if (count > 0) logit = fround(fround(logit - fround(each * count)) - once);
    changed[token] = Math.min(logit, LARGEST);
  }
}

export function allows(mask: TokenMask, token: number): boolean {
  return ((mask[token >>> 5]! >>> (token & 31)) & 1) === 1;
}

/** Words of a mask of `vocabSize` tokens. */
export function maskWords(vocabSize: number): number {
  return Math.ceil(vocabSize / 32);
}

/** The error for a row whose changes and mask leave no token that could be drawn. */
export function nothingAllowed(): ModelError {
  const what = 'no token may be drawn: the mask and the biases rule out all tokens that the model gives a probability';
  return new ModelError('nothing-allowed', 'mask', what);
}
