/** Laps after which a lap counts half. */
const HALF_LIFE_LAPS = 45;
const KEPT = 2 ** (-1 / HALF_LIFE_LAPS);
/** How far sizes must vary, as a share of their mean, before their times outweigh the assumed slope. */
const TELLING_SPREAD = 0.3;

/**
 * What a peer's laps cost: a fixed part (the round trip, submission, reading back) and a part for each (row, expert)
 * assignment (the row's bytes, its products). A weighted least squares line through recent laps, drawn towards an assumed
 * slope (ridge regression) as long as all of them were of about the same size. Means and central sums are updated (West
 * 1979), so that no precision is lost where all sizes are large and similar.
 */
export class LapCost {
  #weight = 0;
  #meanSize = 0;
  #meanMs = 0;
  /** Decayed sums of (size − mean size)² and (size − mean size)(ms − mean ms). */
  #squares = 0;
  #products = 0;
  #computeMs = 0;

  /** Adds a lap; `computeMs` of it is assumed to grow with its assignments. */
  add(assignments: number, lapMs: number, computeMs: number): void {
    this.#weight = this.#weight * KEPT + 1;
    const off = assignments - this.#meanSize;
    this.#meanSize += off / this.#weight;
    this.#meanMs += (lapMs - this.#meanMs) / this.#weight;
    this.#squares = this.#squares * KEPT + off * (assignments - this.#meanSize);
    this.#products = this.#products * KEPT + off * (lapMs - this.#meanMs);
    this.#computeMs = this.#computeMs * KEPT + computeMs;
  }

  /** The two parts, both 0 before the first lap and never negative. */
  line(): { fixedMs: number; perAssignmentMs: number } {
    if (this.#weight === 0) return { fixedMs: 0, perAssignmentMs: 0 };
    const assumed = this.#computeMs / (this.#weight * this.#meanSize);
    const ridge = (TELLING_SPREAD * this.#meanSize) ** 2;
    const slope = (this.#products / this.#weight + ridge * assumed) / (this.#squares / this.#weight + ridge);
    // Times grow with assignments from no less than 0.
    const perAssignmentMs = Math.min(Math.max(0, slope), this.#meanMs / this.#meanSize);
    return { fixedMs: this.#meanMs - perAssignmentMs * this.#meanSize, perAssignmentMs };
  }
}
