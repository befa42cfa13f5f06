import { ModelError } from './errors.ts';
import { changeLogits, type LogitChanges, nothingAllowed, type TokenMask } from './logit-changes.ts';
import type { Rng } from './rng.ts';
import { byWeight } from './weight-order.ts';

/** Which tokens may be drawn, and with what probability. */
export interface TokenRange {
  /** 0 takes the largest logit, the lower index on a tie. */
  temperature: number;
  /** Tokens are drawn from the smallest set of most probable ones that holds at least this much probability; 1: from all. */
  topP: number;
  /** Number of most probable tokens to draw from, of whose probability `topP` is then a share; 0 or undefined: all tokens. */
  topK?: number | undefined;
  /**
   * Tokens less likely than this share of the most likely one, at this temperature, are not drawn; 0 or undefined: none is left
   * out. They count for neither `topK` nor `topP`, as in vLLM (`vllm.v1.sample.sampler`: temperature, min_p, top_k, top_p).
   * transformers cuts by min_p last, llama.cpp last too and before the temperature: with `topP` they keep other tokens.
   */
  minP?: number | undefined;
  /** Made before all else. Log-probabilities stay those of the model. */
  changes?: LogitChanges | undefined;
}

export interface SamplingOptions extends TokenRange {
  /** Tokens that may be drawn; undefined: all. */
  mask?: TokenMask | undefined;
  /** Not used at temperature 0. */
  rng: Rng;
}

/**
 * Chooses the next token by the inverse distribution function: over the tokens left in descending order (ties by index) if the
 * range is cut, over all in order of the index otherwise. logits [vocabSize] are not changed.
 * Throws a ModelError `bad-value` if they hold NaN or +∞, or only −∞, which means that an earlier computation has failed; or if
 * changes and mask leave no token.
 */
export function sample(logits: Float32Array, options: SamplingOptions): number {
  const { changes = {}, mask } = options;
  const bestUnchanged = argmax(logits);
  if (!changes.biases && !changes.penalties && !mask) return drawFrom(logits, bestUnchanged, options);
  const changed = changeLogits(logits, changes, mask);
  const best = argmax(changed, nothingAllowed);
  return drawFrom(changed, best, options);
}

function drawFrom(logits: Float32Array, best: number, options: SamplingOptions): number {
  const { temperature, topP, topK = 0, minP = 0, rng } = options;
  if (temperature === 0) return best;
  const weights = new Float64Array(logits.length);
  const least = leastGap(minP, temperature);
  let total = 0;
  for (let i = 0; i < logits.length; i++) {
    const gap = logits[i]! - logits[best]!;
    weights[i] = gap >= least ? Math.exp(gap / temperature) : 0;
    total += weights[i]!;
  }
  const most = topK > 0 ? Math.min(topK, logits.length) : logits.length;
  if (topP >= 1 && most === logits.length) return draw(weights, undefined, total, rng);
  const { tokens, mass } = nucleus(weights, total, topP, most);
  return draw(weights, tokens, mass, rng);
}

/** How far below the largest logit a token may be under `minP`: T ln(minP), since p / p_max = e^((logit − largest) / T). */
export function leastGap(minP: number, temperature: number): number {
  return minP > 0 && temperature > 0 ? temperature * Math.log(Math.min(1, minP)) : Number.NEGATIVE_INFINITY;
}

/** The most probable tokens, best first, that together hold `topP` of the first `most` tokens' probability; at least one. */
function nucleus(
  weights: Float64Array,
  total: number,
  topP: number,
  most: number,
): { tokens: Uint32Array; mass: number } {
  // All tokens below this share could be dropped and topP would still be reached, so none of them needs sorting.
  const floor = most === weights.length ? (total * (1 - topP)) / weights.length : 0;
  const candidates = new Uint32Array(weights.length);
  let numCandidates = 0;
  for (let i = 0; i < weights.length; i++) if (weights[i]! >= floor) candidates[numCandidates++] = i;
  const sorted = byWeight(candidates.subarray(0, numCandidates), weights).subarray(0, most);
  const held = most === weights.length ? total : sorted.reduce((sum, token) => sum + weights[token]!, 0);
  let mass = 0;
  let count = 0;
  while (count < sorted.length && (count === 0 || mass < topP * held)) mass += weights[sorted[count++]!]!;
  return { tokens: sorted.subarray(0, count), mass };
}

/** One of `tokens` (all, if undefined), each with probability weight / mass. */
function draw(weights: Float64Array, tokens: Uint32Array | undefined, mass: number, rng: Rng): number {
  const target = rng() * mass;
  const count = tokens?.length ?? weights.length;
  let sum = 0;
  let last = 0;
  for (let i = 0; i < count; i++) {
    const token = tokens ? tokens[i]! : i;
    if (weights[token] === 0) continue;
    sum += weights[token]!;
    last = token;
    if (target < sum) return token;
  }
  return last; // Rounding left the sum a hair below the mass.
}

/** Index of the largest logit, the lower one on a tie. Throws as `sample` does, and what `nothing` gives if all are −∞. */
export function argmax(logits: Float32Array, nothing: () => ModelError = () => logitsError(undefined)): number {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    const value = logits[i]!;
    if (Number.isNaN(value) || value === Number.POSITIVE_INFINITY) throw logitsError({ tokenId: i, logit: value });
    if (value > logits[best]!) best = i;
  }
  if (logits.length === 0 || logits[best] === Number.NEGATIVE_INFINITY) throw nothing();
  return best;
}

/** The error for logits from which no token can be chosen; `damaged` is the first that is NaN or +∞, if any. */
export function logitsError(damaged: { tokenId: number; logit: number } | undefined): ModelError {
  const what = damaged
    ? `logits hold ${damaged.logit} at token ${damaged.tokenId}: a weight of the output head is damaged`
    : 'logits are all -∞: no token can be chosen';
  return new ModelError('bad-value', 'logits', what);
}

/** Natural logarithm of a token's probability at temperature 1 over all tokens. */
export function logSoftmaxAt(logits: Float32Array, tokenId: number): number {
  return logits[tokenId]! - logSumExp(logits);
}

/** The n most probable tokens with their log-probabilities, best first, the lower index first on a tie. */
export function topLogprobs(logits: Float32Array, n: number): { tokenId: number; logprob: number }[] {
  const norm = logSumExp(logits);
  const best: number[] = [];
  for (let i = 0; i < logits.length; i++) {
    if (best.length === n && (n === 0 || logits[i]! <= logits[best[n - 1]!]!)) continue;
    let at = best.length;
    while (at > 0 && logits[i]! > logits[best[at - 1]!]!) at--;
    best.splice(at, 0, i);
    if (best.length > n) best.pop();
  }
  return best.map((tokenId) => ({ tokenId, logprob: logits[tokenId]! - norm }));
}

/** ln Σ exp(logits). */
function logSumExp(logits: Float32Array): number {
  const max = logits[argmax(logits)]!;
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - max);
  return max + Math.log(sum);
}
