import { DecayedLine } from '../base/decayed-line.ts';

/** Laps of which half are forgotten after so many more. */
const HALF_LIFE_LAPS = 45;
const KEPT = 2 ** (-1 / HALF_LIFE_LAPS);
/** How much sizes must vary, as a share of their mean, before what they tell outweighs what is assumed. */
const TELLING_SPREAD = 0.3;

/**
 * What a peer's laps cost: a part that each lap has (the round trip, submission, reading back) and one for every
 * (row, expert) pair in it (the row's bytes, its products). A weighted least squares line through the last laps, drawn
 * towards an assumed slope (ridge regression) as long as all of them were about as large.
 */
export class LapCost {
  readonly #line = new DecayedLine(KEPT);
  /** Decayed as the line's samples are. */
  #computeMs = 0;

  /** `computeMs`: what of it is surely a matter of its assignments, for want of better knowledge. */
  add(assignments: number, lapMs: number, computeMs: number): void {
    this.#line.add(assignments, lapMs);
    this.#computeMs = this.#computeMs * KEPT + computeMs;
  }

  /** Of a lap of so many assignments, and of each further one; both 0 before the first lap. Neither is ever below 0. */
  line(): { fixedMs: number; perAssignmentMs: number } {
    const { weight, meanX } = this.#line;
    if (weight === 0) return { fixedMs: 0, perAssignmentMs: 0 };
    const assumed = this.#computeMs / (weight * meanX);
    const { base, slope } = this.#line.fit(assumed, (TELLING_SPREAD * meanX) ** 2);
    return { fixedMs: base, perAssignmentMs: slope };
  }
}
