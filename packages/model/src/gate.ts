import { linear, sigmoid } from './math.ts';
import type { ModelConfig } from './model-config.ts';

export interface GateWeights {
  /** [nRoutedExperts, hiddenSize] */
  weight: Float32Array;
  /** [nRoutedExperts], e_score_correction_bias: for selection only. */
  bias: Float32Array;
}

export interface GateChoice {
  /** [numRows, numExpertsPerTok], best first; equal scores: the lower index first. */
  topkIdx: Uint16Array;
  /** [numRows, numExpertsPerTok] */
  topkWeights: Float32Array;
}

type GateConfig = Pick<
  ModelConfig,
  'nRoutedExperts' | 'nGroup' | 'topkGroup' | 'numExpertsPerTok' | 'normTopkProb' | 'routedScalingFactor'
>;

/** Another choice for a row than the best k of `scores` among `allowed`; undefined: none. */
export type ExpertChooser = (
  row: number,
  scores: Float32Array,
  allowed: readonly number[],
) => ArrayLike<number> | undefined;

/** Keeps the division defined where every chosen score has underflowed to 0 (DeepSeek-V3's own constant). */
const NORM_EPS = 1e-20;

/** The gate of one MoE layer: x [numRows, hiddenSize] → experts and weights for every row. */
export function noauxTcGate(
  config: GateConfig & Pick<ModelConfig, 'hiddenSize'>,
  gate: GateWeights,
  x: Float32Array,
  numRows: number,
  choose?: ExpertChooser,
): GateChoice {
  const logits = linear(x, gate.weight, numRows, config.hiddenSize, config.nRoutedExperts);
  return noauxTcSelect(config, logits, gate.bias, numRows, choose);
}

/**
 * DeepSeek-V3's selection (paper §2.1.2, eq. 12–16): s = sigmoid(logits), c = s + bias; a group's score is the sum of its two
 * best c; the top k by c within the best `topkGroup` groups; weights from the unbiased s.
 * logits [numRows, nRoutedExperts]. A row whose logits are NaN still gets valid, distinct experts (and NaN weights), so that
 * it spoils no other row.
 */
export function noauxTcSelect(
  config: GateConfig,
  logits: Float32Array,
  bias: Float32Array,
  numRows: number,
  choose?: ExpertChooser,
): GateChoice {
  const { nRoutedExperts, numExpertsPerTok } = config;
  const topkIdx = new Uint16Array(numRows * numExpertsPerTok);
  const topkWeights = new Float32Array(numRows * numExpertsPerTok);
  const scores = new Float32Array(nRoutedExperts);
  const choice = new Float32Array(nRoutedExperts);
  for (let r = 0; r < numRows; r++) {
    for (let e = 0; e < nRoutedExperts; e++) {
      scores[e] = sigmoid(logits[r * nRoutedExperts + e]!);
      choice[e] = scores[e]! + bias[e]!;
    }
    const allowed = allowedExperts(config, choice);
    const chosen = Array.from(choose?.(r, choice, allowed) ?? topIndices(choice, allowed, numExpertsPerTok));
    topkIdx.set(chosen, r * numExpertsPerTok);
    topkWeights.set(weightsOf(config, scores, chosen), r * numExpertsPerTok);
  }
  return { topkIdx, topkWeights };
}

/** The experts of the best `topkGroup` groups. The rest are left out, not scored 0: a biased score may be negative. */
function allowedExperts(config: GateConfig, choice: Float32Array): number[] {
  const { nGroup, topkGroup, nRoutedExperts } = config;
  const size = nRoutedExperts / nGroup;
  const groups = Array.from({ length: nGroup }, (_, g) => g);
  const kept =
    topkGroup === nGroup
      ? groups
      : topIndices(
          Float32Array.from(groups, (g) => sumOfBestTwo(choice, g * size, size)),
          groups,
          topkGroup,
        ).sort((a, b) => a - b);
  return kept.flatMap((g) => Array.from({ length: size }, (_, i) => g * size + i));
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

/** The k candidates of the largest values, best first. `candidates` ascend, so that the lower index wins a tie. */
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
  const { normTopkProb, routedScalingFactor } = config;
  let sum = 0;
  for (const e of chosen) sum += scores[e]!;
  const factor = normTopkProb ? routedScalingFactor / (sum + NORM_EPS) : routedScalingFactor;
  return chosen.map((e) => scores[e]! * factor);
}
