import { z } from 'zod';
import { type Assignments, checkTopK, type GateKind, gateError, type GateLayer } from './gate-kind.ts';
import { alike, type Floats, range, topIndices } from './scores.ts';
import { selectionConfig, type SelectionConfig, selectTopK, topKSettings, uniformAssignments } from './top-k.ts';

/**
 * The experts of the best `topkGroup` groups of a row, as a function of its scores; undefined where all groups are kept. The
 * others are left out rather than scored 0, since a biased score may be negative.
 */
export function groupLimit({ nRoutedExperts, gate }: SelectionConfig): ((scores: Floats) => number[]) | undefined {
  const { nGroup, topkGroup, groupScore } = gate;
  if (topkGroup === nGroup) return undefined;
  const size = nRoutedExperts / nGroup;
  const groups = range(nGroup);
  const score = groupScore === 'max' ? best : sumOfBestTwo;
  return (scores) => {
    const ofGroups = alike(scores, nGroup);
    for (let g = 0; g < nGroup; g++) ofGroups[g] = score(scores, g * size, size);
    const kept = topIndices(ofGroups, groups, topkGroup).sort((a, b) => a - b);
    return kept.flatMap((g) => Array.from({ length: size }, (_, i) => g * size + i));
  };
}

function best(values: Floats, start: number, length: number): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + length; i++) if (values[i]! > max) max = values[i]!;
  return max;
}

function sumOfBestTwo(values: Floats, start: number, length: number): number {
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

export const groupSettings = {
  ...topKSettings,
  nGroup: z.int().min(1),
  topkGroup: z.int().min(1),
  groupScore: z.enum(['max', 'sum-of-best-two']).default('max'),
} satisfies z.ZodRawShape;

export type GroupSettings = z.infer<z.ZodObject<typeof groupSettings>>;

/** Throws a ModelError unless the groups divide the experts and hold enough of them. */
export function checkGroups(gate: string, settings: GroupSettings, layer: GateLayer): void {
  const { k, nGroup, topkGroup, groupScore } = settings;
  const { numExperts } = layer;
  checkTopK(gate, k, layer);
  const size = numExperts / nGroup;
  const refuse = (wrong: boolean, key: keyof typeof settings, problem: string): void => {
    if (wrong) throw gateError(gate, key, settings[key], problem);
  };
  refuse(!Number.isInteger(size), 'nGroup', `${numExperts} experts are not a multiple of it`);
  refuse(topkGroup > nGroup, 'topkGroup', `there are only ${nGroup} groups`);
  refuse(k > topkGroup * size, 'k', `${topkGroup} groups of ${size} experts hold only ${topkGroup * size}`);
  refuse(
    groupScore === 'sum-of-best-two' && topkGroup < nGroup && size < 2,
    'groupScore',
    'groups have one expert each',
  );
}

/** `noaux_tc` has sigmoids, a bias and groups scored by their best two; `group_limited_greedy` has softmax and the best. */
export const groupLimited: GateKind<GroupSettings, Assignments> = {
  title: 'Group-limited',
  source: 'DeepSeek-V2 paper §2.2 (group_limited_greedy), DeepSeek-V3 paper §2.1.2, eq. 12–16 (noaux_tc)',
  sees: 'row',
  settings: z.strictObject(groupSettings),
  open: (settings, layer) => {
    checkGroups('group-limited', settings, layer);
    const config = selectionConfig(settings, layer);
    const allowed = groupLimit(config);
    return ({ logits, numRows }) =>
      uniformAssignments(selectTopK(config, logits, layer.bias ?? null, numRows, { allowed }), numRows);
  },
};
