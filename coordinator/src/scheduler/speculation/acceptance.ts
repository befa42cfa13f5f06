/** A sequence's own experience outweighs the prior after this many drafts. */
const PRIOR_WEIGHT = 4;

/** How often a draft of each depth is right, given that those before it were. Old experience fades. */
export class Acceptance {
  readonly #prior: (depth: number) => number;
  readonly #decay: number;
  /** Decayed counts, by depth − 1. */
  readonly #judged: number[] = [];
  readonly #right: number[] = [];

  /** `prior` gives the expected rate of a depth (from 1) without experience; `decay` is a draft's weight after the next one. */
  constructor(prior: (depth: number) => number, decay: number) {
    this.#prior = prior;
    this.#decay = decay;
  }

  /** Records that the first `accepted` of `drafted` drafts were right; the next one was wrong, and the rest were not judged. */
  judge(drafted: number, accepted: number): void {
    for (let depth = 1; depth <= Math.min(drafted, accepted + 1); depth++) {
      this.#judged[depth - 1] = (this.#judged[depth - 1] ?? 0) * this.#decay + 1;
      this.#right[depth - 1] = (this.#right[depth - 1] ?? 0) * this.#decay + (depth <= accepted ? 1 : 0);
    }
  }

  /** Probability that the draft of this depth (from 1) is right, given that those before it are. */
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
