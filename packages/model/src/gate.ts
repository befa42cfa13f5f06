import type { LayerAdapters } from './adapters/layer-adapters.ts';
import { addBias } from './expert.ts';
import { linear, sigmoid } from './math.ts';
import type { GateConfig, ModelConfig } from './model-config.ts';

export interface GateWeights {
  /** [nRoutedExperts, hiddenSize] */
  weight: Float32Array;
  /** [nRoutedExperts], part of the logits; null where the family has none. */
  logitBias: Float32Array | null;
  /** [nRoutedExperts], e_score_correction_bias: for selection only. null where the family has none. */
  bias: Float32Array | null;
}

export interface GateChoice {
  /** [numRows, numExpertsPerTok], best first; equal scores: the lower index first. */
  topkIdx: Uint16Array;
  /** [numRows, numExpertsPerTok] */
  topkWeights: Float32Array;
}

/** The part of a model's config that a selection needs. */
export type SelectionConfig = Pick<ModelConfig, 'nRoutedExperts' | 'numExpertsPerTok' | 'gate'>;

/** Chooses a row's experts instead of the best k of `scores` among `allowed`; undefined keeps those. */
export type ExpertChooser = (
  row: number,
  scores: Float32Array,
  allowed: readonly number[],
) => ArrayLike<number> | undefined;

/** Keeps the division defined when every chosen score has underflowed to 0 (DeepSeek's constant). */
const NORM_EPS = 1e-20;

/** The gate of one MoE layer: experts and weights for every row of x [numRows, hiddenSize]. */
export function gate(
  config: SelectionConfig & Pick<ModelConfig, 'hiddenSize'>,
  weights: GateWeights,
  x: Float32Array,
  numRows: number,
  choose?: ExpertChooser,
  adapters?: LayerAdapters,
): GateChoice {
  const logits = linear(x, weights.weight, numRows, config.hiddenSize, config.nRoutedExperts);
  adapters?.add('moeGate', x, logits);
  return selectExperts(config, addBias(logits, weights.logitBias), weights.bias, numRows, choose);
}

/**
 * Selects each row's experts from the gate's logits [numRows, nRoutedExperts]: s = softmax or sigmoid of the logits;
 * c = s + bias; the top k by c within the best `topkGroup` groups; weights from the unbiased s. Depending on `config.gate` this
 * is `noaux_tc` (DeepSeek-V3 paper §2.1.2, eq. 12–16), `group_limited_greedy` or `greedy` (DeepSeek-V2 paper §2.2) or plain
 * softmax top-k (Mixtral, Qwen3, OLMoE). A row of NaN logits still gets valid, distinct experts (and NaN weights), so that it
 * affects no other row.
 */
export function selectExperts(
  config: SelectionConfig,
  logits: Float32Array,
  bias: Float32Array | null,
  numRows: number,
  choose?: ExpertChooser,
): GateChoice {
  const { nRoutedExperts, numExpertsPerTok } = config;
  const topkIdx = new Uint16Array(numRows * numExpertsPerTok);
  const topkWeights = new Float32Array(numRows * numExpertsPerTok);
  const scores = new Float32Array(nRoutedExperts);
  const choice = new Float32Array(nRoutedExperts);
  for (let r = 0; r < numRows; r++) {
    const row = logits.subarray(r * nRoutedExperts, (r + 1) * nRoutedExperts);
    scoreRow(config.gate, row, scores);
    // Llama 4 chooses by logits: sigmoids of large ones are all 1 in float32.
    if (config.gate.scalesInput) choice.set(row);
    else for (let e = 0; e < nRoutedExperts; e++) choice[e] = scores[e]! + (bias ? bias[e]! : 0);
    const allowed = allowedExperts(config, choice);
    const chosen = Array.from(choose?.(r, choice, allowed) ?? topIndices(choice, allowed, numExpertsPerTok));
    topkIdx.set(chosen, r * numExpertsPerTok);
    topkWeights.set(weightsOf(config.gate, scores, chosen), r * numExpertsPerTok);
  }
  return { topkIdx, topkWeights };
}

/** Writes one row's scores; both arrays are [nRoutedExperts]. */
function scoreRow({ scoring }: GateConfig, logits: Float32Array, scores: Float32Array): void {
  switch (scoring) {
    case 'sigmoid':
      for (let e = 0; e < logits.length; e++) scores[e] = sigmoid(logits[e]!);
      return;
    case 'softmax':
      return softmaxRow(logits, scores);
    default:
      scoring satisfies never;
  }
}

function softmaxRow(logits: Float32Array, scores: Float32Array): void {
  let max = Number.NEGATIVE_INFINITY;
  for (let e = 0; e < logits.length; e++) if (logits[e]! > max) max = logits[e]!;
  let sum = 0;
  for (let e = 0; e < logits.length; e++) sum += Math.exp(logits[e]! - max);
  for (let e = 0; e < logits.length; e++) scores[e] = Math.exp(logits[e]! - max) / sum;
}

/** The experts of the best `topkGroup` groups. The others are left out rather than scored 0, since a biased score may be negative. */
function allowedExperts(config: SelectionConfig, choice: Float32Array): number[] {
  const { nGroup, topkGroup, groupScore } = config.gate;
  const size = config.nRoutedExperts / nGroup;
  const groups = Array.from({ length: nGroup }, (_, g) => g);
  const score = groupScore === 'max' ? best : sumOfBestTwo;
  const kept =
    topkGroup === nGroup
      ? groups
      : topIndices(
          Float32Array.from(groups, (g) => score(choice, g * size, size)),
          groups,
          topkGroup,
        ).sort((a, b) => a - b);
  return kept.flatMap((g) => Array.from({ length: size }, (_, i) => g * size + i));
}

function best(values: Float32Array, start: number, length: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + length; i++) if (values[i]! > max) max = values[i]!;
  return max;
}

function sumOfBestTwo(values: Float32Array, start: number, length: number): number {
  let best = Number.NEGATIVE_INFINITY;
  let second = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + length; i++) {
    const value = values[i]!;
    if (value > best) {
      second = best;
      best = value;
    } else if (value > second) second = value;
  }
  return best + second;
}

/** The k candidates with the largest values, best first. `candidates` ascend, so that the lower index wins a tie. */
function topIndices(values: Float32Array, candidates: readonly number[], k: number): number[] {
  const left = [...candidates];
  const chosen: number[] = [];
  while (chosen.length < k) {
    let best = 0;
    for (let i = 1; i < left.length; i++) if (values[left[i]!]! > values[left[best]!]!) best = i;
    chosen.push(...left.splice(best, 1));
  }
  return chosen;
}

function weightsOf(config: GateConfig, scores: Float32Array, chosen: readonly number[]): number[] {
  const { normTopkProb, scaleWhenNormalised, routedScalingFactor } = config;
  let sum = 0;
  for (const e of chosen) sum += scores[e]!;
  const scale = normTopkProb && !scaleWhenNormalised ? 1 : routedScalingFactor;
  const factor = normTopkProb ? scale / (sum + NORM_EPS) : scale;
  return chosen.map((e) => scores[e]! * factor);
}
