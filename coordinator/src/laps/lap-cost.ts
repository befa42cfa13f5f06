import { DecayedLine } from '../base/decayed-line.ts';

/** Laps after which a lap counts half. */
const HALF_LIFE_LAPS = 45;
const KEPT = 2 ** (-1 / HALF_LIFE_LAPS);
/** How far sizes must vary, as a share of their mean, before their times outweigh the assumed slope. */
const TELLING_SPREAD = 0.3;

/**
 * What a peer's laps cost: a fixed part (the round trip, submission, reading back) and a part for each (row, expert)
 * assignment (the row's bytes, its products). A weighted least squares line through recent laps, drawn towards an assumed
 * slope (ridge regression) as long as all of them were of about the same size.
 */
export class LapCost {
  readonly #line = new DecayedLine(KEPT);
  /** Decayed as the line's samples are. */
  #computeMs = 0;

  /** Adds a lap; `computeMs` of it is assumed to grow with its assignments. */
  add(assignments: number, lapMs: number, computeMs: number): void {
    this.#line.add(assignments, lapMs);
    this.#computeMs = this.#computeMs * KEPT + computeMs;
  }

  /** The two parts, both 0 before the first lap and never negative. */
  line(): { fixedMs: number; perAssignmentMs: number } {
    const { weight, meanX } = this.#line;
    if (weight === 0) return { fixedMs: 0, perAssignmentMs: 0 };
    const assumed = this.#computeMs / (weight * meanX);
    const { base, slope } = this.#line.fit(assumed, (TELLING_SPREAD * meanX) ** 2);
    return { fixedMs: base, perAssignmentMs: slope };
  }
}
