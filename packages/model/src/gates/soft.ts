import { z } from 'zod';
import type { GateKind, Slots } from './gate-kind.ts';
import { alike, type Floats, softmaxRow } from './scores.ts';

const settings = z.strictObject({
  /** Slots of each expert (p). */
  slotsPerExpert: z.int().min(1).max(4096).default(1),
});

/**
 * Every slot is a mixture of all rows of a sequence, and every row of what the experts make of all slots. With logits X·Φ
 * [numRows, numSlots], the mixtures' shares D are their softmax over rows, and the sums' shares C their softmax over slots.
 */
export const soft: GateKind<z.infer<typeof settings>, Slots> = {
  title: 'Soft slots',
  source: 'Soft MoE (Puigcerver et al. 2023, §2.1, eq. 1–3)',
  sees: 'sequence',
  settings,
  numLogits: ({ slotsPerExpert }, { numExperts }) => numExperts * slotsPerExpert,
  open:
    ({ slotsPerExpert }, { numExperts }) =>
    ({ logits, numRows }) => {
      const numSlots = numExperts * slotsPerExpert;
      const [dispatch, combine] = [alike(logits, logits.length), alike(logits, logits.length)];
      const ofSlot = alike(logits, numRows);
      for (let slot = 0; slot < numSlots; slot++) {
        for (let row = 0; row < numRows; row++) ofSlot[row] = logits[row * numSlots + slot]!;
        softmaxRow(ofSlot, dispatch.subarray(slot * numRows, (slot + 1) * numRows));
      }
      for (let row = 0; row < numRows; row++) {
        const [from, to] = [row * numSlots, (row + 1) * numSlots];
        softmaxRow(logits.subarray(from, to), combine.subarray(from, to));
      }
      return { kind: 'slots', numRows, numSlots, slotsPerExpert, dispatch, combine };
    },
};

/** X̃ = Dᵀ X: what the experts get, [numSlots, width], of rows x [numRows, width]. */
export function mixIntoSlots({ dispatch, numSlots, numRows }: Slots, x: Floats): Floats {
  return product(dispatch, x, numSlots, numRows);
}

/** Y = C Ỹ: what the rows get, [numRows, width], of the slots after their experts [numSlots, width]. */
export function mixIntoRows({ combine, numSlots, numRows }: Slots, y: Floats): Floats {
  return product(combine, y, numRows, numSlots);
}

/** shares [count, inner] · values [inner, width], with sums in float64. */
function product(shares: Floats, values: Floats, count: number, inner: number): Floats {
  const width = values.length / inner;
  const out = alike(values, count * width);
  const sums = new Float64Array(width);
  for (let i = 0; i < count; i++) {
    sums.fill(0);
    for (let j = 0; j < inner; j++) {
      const share = shares[i * inner + j]!;
      for (let d = 0; d < width; d++) sums[d]! += share * values[j * width + d]!;
    }
    out.set(sums, i * width);
  }
  return out;
}
