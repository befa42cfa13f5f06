import { z } from 'zod';
import { AssignmentList, type Assignments, type GateKind, type GateLayer } from './gate-kind.ts';
import { alike, type Floats, range, scoreRow } from './scores.ts';

const settings = z.strictObject({
  /** Experts of a row on average (c). */
  capacityFactor: z.number().positive().finite().default(2),
});

/**
 * Each expert takes the rows of a sequence that score highest for it: c · n / E of them, rounded down, at least 1 and at most n.
 * A row has any number of experts, or none. Weights are the softmax over the experts, not normalised again.
 */
export const expertChoice: GateKind<z.infer<typeof settings>, Assignments> = {
  title: 'Expert choice',
  source: 'Zhou et al. 2022, §3.2, eq. 1–2',
  sees: 'sequence',
  settings,
  open:
    ({ capacityFactor }, layer) =>
    ({ logits, numRows }) => {
      const { numExperts } = layer;
      const scores = alike(logits, logits.length);
      for (let row = 0; row < numRows; row++) {
        const [from, to] = [row * numExperts, (row + 1) * numExperts];
        scoreRow('softmax', logits.subarray(from, to), scores.subarray(from, to));
      }
      const takes = rowsTaken(capacityFactor, numRows, layer);
      const takenBy = range(numExperts).map((expert) => bestRows(scores, expert, numExperts, numRows, takes));
      const assignments = new AssignmentList();
      for (let row = 0; row < numRows; row++) {
        for (const [expert, rows] of takenBy.entries()) {
          if (rows.has(row)) assignments.add(expert, scores[row * numExperts + expert]!);
        }
        assignments.endRow();
      }
      return assignments.finish(logits);
    },
};

/** Rows that each expert takes. */
function rowsTaken(capacityFactor: number, numRows: number, { numExperts }: GateLayer): number {
  return Math.min(numRows, Math.max(1, Math.floor((capacityFactor * numRows) / numExperts)));
}

/** The rows that score highest for an expert; of equal ones the earlier. */
function bestRows(scores: Floats, expert: number, numExperts: number, numRows: number, count: number): Set<number> {
  const scoreOf = (row: number): number => scores[row * numExperts + expert]!;
  const order = range(numRows).sort((a, b) => scoreOf(b) - scoreOf(a) || a - b);
  return new Set(order.slice(0, count));
}
