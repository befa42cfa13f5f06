import { z } from 'zod';
import { AssignmentList, type Assignments, expertCapacity, type GateKind } from './gate-kind.ts';
import { alike, range, scoreRow, topIndices } from './scores.ts';

const settings = z.strictObject({
  /** `expert_capacity` of Switch's checkpoints: rows of a sequence that an expert takes. Absent: from the factor. */
  capacity: z.int().min(1).optional(),
  capacityFactor: z.number().positive().finite().default(1.25),
});

/**
 * Each row goes to its best expert, with the softmax of its logit as weight, as long as fewer rows before it in its sequence went
 * there than the expert's capacity. A row that is dropped has no expert, and only the residual carries it on.
 */
export const top1Capacity: GateKind<z.infer<typeof settings>, Assignments> = {
  title: 'Top 1 with a capacity',
  source: 'Switch Transformers (Fedus et al. 2021, §2.2); dropping as in transformers’ switch_transformers',
  sees: 'sequence',
  settings,
  open:
    (chosen, layer) =>
    ({ logits, numRows }) => {
      const { numExperts } = layer;
      const capacity = expertCapacity(chosen, numRows, layer);
      const taken = new Uint32Array(numExperts);
      const scores = alike(logits, numExperts);
      const assignments = new AssignmentList();
      const all = range(numExperts);
      for (let row = 0; row < numRows; row++) {
        scoreRow('softmax', logits.subarray(row * numExperts, (row + 1) * numExperts), scores);
        const best = topIndices(scores, all, 1)[0]!;
        if (taken[best]! < capacity) assignments.add(best, scores[best]!);
        else assignments.drop(best);
        taken[best]!++;
        assignments.endRow();
      }
      return assignments.finish(logits);
    },
};
