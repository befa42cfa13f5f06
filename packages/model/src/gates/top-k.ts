import { z } from 'zod';
import type { GateConfig, ModelConfig } from '../model-config.ts';
import { uniformRowEnd } from '../work-item.ts';
import { type Assignments, checkTopK, type GateKind, type GateLayer, type GateRows } from './gate-kind.ts';
import { alike, type Floats, range, scoreRow, topIndices } from './scores.ts';

export interface GateChoice<Weights extends Floats = Float32Array> {
  /** [numRows, numExpertsPerTok], best first; equal scores: the lower index first. */
  topkIdx: Int32Array;
  /** [numRows, numExpertsPerTok] */
  topkWeights: Weights;
}

/** The part of a model's config that a selection needs. */
export type SelectionConfig = Pick<ModelConfig, 'nRoutedExperts' | 'numExpertsPerTok' | 'gate'>;

/** Chooses a row's experts instead of the best k of `scores` among `allowed`; undefined keeps those. */
export type ExpertChooser<Scores extends Floats = Float32Array> = (
  row: number,
  scores: Scores,
  allowed: readonly number[],
) => ArrayLike<number> | undefined;

/** What limits the best k of a row. */
export interface ChoiceLimits<Scores extends Floats> {
  /** The experts that a row's scores leave to choose from, ascending; all by default. */
  allowed?: ((scores: Floats) => number[]) | undefined;
  choose?: ExpertChooser<Scores> | undefined;
}

/** Keeps the division defined when every chosen score has underflowed to 0 (DeepSeek's constant). */
const NORM_EPS = 1e-20;

/**
 * Selects each row's experts from the gate's logits [numRows, nRoutedExperts]: s = softmax or sigmoid of the logits; c = s + bias;
 * the top k by c; weights from the unbiased s.
 */
export function selectTopK<Logits extends Floats>(
  { nRoutedExperts, numExpertsPerTok, gate }: SelectionConfig,
  logits: Logits,
  bias: Floats | null,
  numRows: number,
  limits: ChoiceLimits<Logits>,
): GateChoice<Logits> {
  const topkIdx = new Int32Array(numRows * numExpertsPerTok);
  const topkWeights = alike(logits, numRows * numExpertsPerTok);
  const scores = alike(logits, nRoutedExperts);
  const choice = alike(logits, nRoutedExperts);
  const all = range(nRoutedExperts);
  for (let r = 0; r < numRows; r++) {
    const row = logits.subarray(r * nRoutedExperts, (r + 1) * nRoutedExperts);
    scoreRow(gate.scoring, row, scores);
    // Llama 4 chooses by logits: sigmoids of large ones are all 1 in float32.
    if (gate.scalesInput) choice.set(row);
    else for (let e = 0; e < nRoutedExperts; e++) choice[e] = scores[e]! + (bias ? bias[e]! : 0);
    const allowed = limits.allowed?.(choice) ?? all;
    const chosen = Array.from(limits.choose?.(r, choice, allowed) ?? topIndices(choice, allowed, numExpertsPerTok));
    topkIdx.set(chosen, r * numExpertsPerTok);
    topkWeights.set(weightsOf(gate, scores, chosen), r * numExpertsPerTok);
  }
  return { topkIdx, topkWeights };
}

type WeightRule = Pick<GateConfig, 'normTopkProb' | 'scaleWhenNormalised' | 'routedScalingFactor'>;

/** The chosen experts' weights, of a row's scores [nRoutedExperts]. */
export function weightsOf(rule: WeightRule, scores: Floats, chosen: readonly number[]): number[] {
  const { normTopkProb, scaleWhenNormalised, routedScalingFactor } = rule;
  let sum = 0;
  for (const e of chosen) sum += scores[e]!;
  const scale = normTopkProb && !scaleWhenNormalised ? 1 : routedScalingFactor;
  const factor = normTopkProb ? scale / (sum + NORM_EPS) : scale;
  return chosen.map((e) => scores[e]! * factor);
}

/** Under the names of `GateConfig`, whose comments say what each does. */
export const topKSettings = {
  k: z.int().min(1),
  scoring: z.enum(['softmax', 'sigmoid']).default('softmax'),
  scalesInput: z.boolean().default(false),
  normTopkProb: z.boolean().default(true),
  scaleWhenNormalised: z.boolean().default(false),
  routedScalingFactor: z.number().positive().finite().default(1),
} satisfies z.ZodRawShape;

const NO_GROUPS = { nGroup: 1, topkGroup: 1, groupScore: 'max' } as const;

type TopKSettings = z.infer<z.ZodObject<typeof topKSettings>>;
type GroupSettings = Pick<GateConfig, 'nGroup' | 'topkGroup' | 'groupScore'>;

/** The settings of a gate as the config of a model that has it. */
export function selectionConfig(
  { k, ...gate }: TopKSettings & Partial<GroupSettings>,
  { numExperts, bias }: GateLayer,
): SelectionConfig {
  const whole = { ...NO_GROUPS, hasBias: bias !== null && bias !== undefined, hasLogitBias: false, ...gate };
  return { nRoutedExperts: numExperts, numExpertsPerTok: k, gate: whole };
}

/** The config of a model's gate as settings: the other way round. */
export function settingsOf({ numExpertsPerTok, gate }: SelectionConfig): TopKSettings & GroupSettings {
  const { hasBias: _bias, hasLogitBias: _logitBias, ...rules } = gate;
  return { k: numExpertsPerTok, ...rules };
}

/** A choice of the same number of experts for each row. */
export function uniformAssignments({ topkIdx, topkWeights }: GateChoice<Floats>, numRows: number): Assignments {
  const rowEnd = uniformRowEnd(numRows, topkIdx.length / numRows);
  return {
    kind: 'assignments',
    numRows,
    rowEnd,
    experts: Uint16Array.from(topkIdx),
    weights: topkWeights,
    dropped: [],
  };
}

/** Mixtral, Qwen3, OLMoE and gpt-oss have it with softmax, GLM-4.5 and Llama 4 with sigmoids. */
export const topK: GateKind<TopKSettings, Assignments> = {
  title: 'Top k',
  source: 'Shazeer et al. 2017, eq. 3 and 5 (without noise)',
  sees: 'row',
  settings: z.strictObject(topKSettings),
  open: (settings, layer) => {
    checkTopK('top-k', settings.k, layer);
    const config = selectionConfig(settings, layer);
    return ({ logits, numRows }: GateRows) =>
      uniformAssignments(selectTopK(config, logits, layer.bias ?? null, numRows, {}), numRows);
  },
};
