import { z } from 'zod';
import { AssignmentList, type Assignments, checkTopK, type GateKind, type GateLayer } from './gate-kind.ts';
import { alike, type Floats, range, scoreRow } from './scores.ts';

/** Under the names of NLLB's config, in our spelling. Its second expert is always used (`second_expert_policy` "all"). */
const settings = z.strictObject({
  /** `expert_capacity`; absent: 2 · ⌈rows / experts⌉. */
  capacity: z.int().min(1).optional(),
  /** `moe_eval_capacity_token_fraction`: above 0, an expert takes that part of a sequence's rows, rounded up. */
  capacityTokenFraction: z.number().min(-1).max(1).default(-1),
  /** Whether the two weights sum to 1 before one of them is dropped; otherwise what is left does. */
  normalizeBeforeDropping: z.boolean().default(false),
  /** Whether rows with a clear first choice get their places first, instead of earlier rows. */
  batchPrioritizedRouting: z.boolean().default(false),
});

type Settings = z.infer<typeof settings>;

/** A sequence's first and second choices. */
interface Choices {
  /** [numRows] */
  first: Uint16Array;
  second: Uint16Array;
  /** [numRows, numExperts] */
  scores: Floats;
}

/** The precision's machine epsilon, below which transformers doesn't let the sum of a row's scores fall. */
const smallestSum = (scores: Floats): number => (scores instanceof Float32Array ? 2 ** -23 : Number.EPSILON);

export const top2Capacity: GateKind<Settings, Assignments> = {
  title: 'Top 2 with a capacity',
  source: 'GShard (Lepikhin et al. 2020, §2.2) as NLLB has it; dropping as in transformers’ nllb_moe',
  sees: 'sequence',
  settings,
  open: (set, layer) => {
    checkTopK('top-2-capacity', 2, layer);
    return ({ logits, numRows }) => {
      const choices = chooseTwo(logits, numRows, layer);
      const kept = withinCapacity(choices, set, numRows, layer);
      const assignments = new AssignmentList();
      for (let row = 0; row < numRows; row++) addRow(assignments, choices, row, kept(row), set, layer);
      return assignments.finish(logits);
    };
  },
};

/** The first choice is by scores and the second by logits, so that it stays distinct where scores underflow. */
function chooseTwo(logits: Floats, numRows: number, { numExperts }: GateLayer): Choices {
  const [first, second] = [new Uint16Array(numRows), new Uint16Array(numRows)];
  const scores = alike(logits, logits.length);
  for (let row = 0; row < numRows; row++) {
    const [from, to] = [row * numExperts, (row + 1) * numExperts];
    scoreRow('softmax', logits.subarray(from, to), scores.subarray(from, to));
    first[row] = bestBut(scores.subarray(from, to), -1);
    second[row] = bestBut(logits.subarray(from, to), first[row]!);
  }
  return { first, second, scores };
}

function bestBut(values: Floats, left: number): number {
  let best = left === 0 ? 1 : 0;
  for (let e = best + 1; e < values.length; e++) if (e !== left && values[e]! > values[best]!) best = e;
  return best;
}

/** Which of a row's two choices have room. An expert's second choices come after all first ones, dropped or not. */
function withinCapacity(
  { first, second, scores }: Choices,
  set: Settings,
  numRows: number,
  { numExperts }: GateLayer,
): (row: number) => [boolean, boolean] {
  const capacity = capacityOf(set, numRows, numExperts);
  const order = range(numRows);
  const importance = (row: number): number => scores[row * numExperts + first[row]!]!;
  if (set.batchPrioritizedRouting) order.sort((a, b) => importance(b) - importance(a) || a - b);
  const places = (chosen: Uint16Array, taken: Uint32Array): Uint32Array => {
    const place = new Uint32Array(numRows);
    for (const row of order) place[row] = taken[chosen[row]!]!++;
    return place;
  };
  const taken = new Uint32Array(numExperts);
  const [ofFirst, ofSecond] = [places(first, taken), places(second, taken)];
  return (row) => [ofFirst[row]! < capacity, ofSecond[row]! < capacity];
}

function capacityOf({ capacity, capacityTokenFraction }: Settings, numRows: number, numExperts: number): number {
  if (capacityTokenFraction > 0) return Math.ceil(capacityTokenFraction * numRows);
  return capacity ?? 2 * Math.ceil(numRows / numExperts);
}

function addRow(
  assignments: AssignmentList,
  { first, second, scores }: Choices,
  row: number,
  kept: [boolean, boolean],
  { normalizeBeforeDropping }: Settings,
  { numExperts }: GateLayer,
): void {
  const experts = [first[row]!, second[row]!];
  const scoreOf = (i: number): number => scores[row * numExperts + experts[i]!]!;
  const counts = (i: number): boolean => normalizeBeforeDropping || kept[i]!;
  const sum = Math.max((counts(0) ? scoreOf(0) : 0) + (counts(1) ? scoreOf(1) : 0), smallestSum(scores));
  for (const [i, expert] of experts.entries()) {
    if (kept[i]) assignments.add(expert, scoreOf(i) / sum);
    else assignments.drop(expert);
  }
  assignments.endRow();
}
