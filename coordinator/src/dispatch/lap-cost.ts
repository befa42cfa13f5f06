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
  #weight = 0;
  #pairs = 0;
  #ms = 0;
  #pairs2 = 0;
  #pairsMs = 0;
  #computeMs = 0;

  /** `computeMs`: what of it is surely a matter of its pairs, for want of better knowledge. */
  add(pairs: number, lapMs: number, computeMs: number): void {
    this.#weight = this.#weight * KEPT + 1;
    this.#pairs = this.#pairs * KEPT + pairs;
    this.#ms = this.#ms * KEPT + lapMs;
    this.#pairs2 = this.#pairs2 * KEPT + pairs * pairs;
    this.#pairsMs = this.#pairsMs * KEPT + pairs * lapMs;
    this.#computeMs = this.#computeMs * KEPT + computeMs;
  }

  /** Of a lap of so many pairs, and of each further one; both 0 before the first lap. Neither is ever below 0. */
  line(): { fixedMs: number; perPairMs: number } {
    if (this.#weight === 0) return { fixedMs: 0, perPairMs: 0 };
    const meanPairs = this.#pairs / this.#weight;
    const meanMs = this.#ms / this.#weight;
    const variance = Math.max(0, this.#pairs2 / this.#weight - meanPairs ** 2);
    const covariance = this.#pairsMs / this.#weight - meanPairs * meanMs;
    const assumed = this.#computeMs / this.#pairs;
    const ridge = (TELLING_SPREAD * meanPairs) ** 2;
    const slope = (covariance + ridge * assumed) / (variance + ridge);
    // More pairs never take less time, and none of the mean is negative.
    const perPairMs = Math.min(meanMs / meanPairs, Math.max(0, slope));
    return { fixedMs: meanMs - perPairMs * meanPairs, perPairMs };
  }
}
