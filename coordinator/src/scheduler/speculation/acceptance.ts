/** A stream's own experience outweighs what others had after so many drafts. */
const PRIOR_WEIGHT = 4;

/** How often drafts of each depth are right, the drafts before them being right. Old experience fades. */
export class Acceptance {
  readonly #prior: (depth: number) => number;
  readonly #decay: number;
  /** By depth − 1, decayed. */
  readonly #judged: number[] = [];
  readonly #right: number[] = [];

  /** `prior`: what to expect of a depth (from 1) before there is experience. `decay`: what a draft still counts after the next. */
  constructor(prior: (depth: number) => number, decay: number) {
    this.#prior = prior;
    this.#decay = decay;
  }

  /** Of `drafted` drafts one after the other the first `accepted` were right; the one after them was wrong, the rest unjudged. */
  judge(drafted: number, accepted: number): void {
    for (let depth = 1; depth <= Math.min(drafted, accepted + 1); depth++) {
      this.#judged[depth - 1] = (this.#judged[depth - 1] ?? 0) * this.#decay + 1;
      this.#right[depth - 1] = (this.#right[depth - 1] ?? 0) * this.#decay + (depth <= accepted ? 1 : 0);
    }
  }

  /** Probability that the draft of this depth (from 1) is right if those before it are. */
  rate(depth: number): number {
    const judged = this.#judged[depth - 1] ?? 0;
    const right = this.#right[depth - 1] ?? 0;
    return (right + PRIOR_WEIGHT * this.#prior(depth)) / (judged + PRIOR_WEIGHT);
  }

  /** Probability that the drafts up to this depth are all right. */
  reach(depth: number): number {
    let all = 1;
    for (let d = 1; d <= depth; d++) all *= this.rate(d);
    return all;
  }
}
