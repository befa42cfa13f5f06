/** Experience outweighs the prior after this many drafts. */
const PRIOR_WEIGHT = 4;

/** How often drafts were right, by class (a whole number from 0). Old experience fades. */
export class DraftTally {
  readonly #decay: number;
  /** Decayed counts, by class. */
  readonly #judged: number[] = [];
  readonly #right: number[] = [];

  /** `decay` is a draft's weight after the next one. */
  constructor(decay: number) {
    this.#decay = decay;
  }

  judge(which: number, isRight: boolean): void {
    this.#judged[which] = (this.#judged[which] ?? 0) * this.#decay + 1;
    this.#right[which] = (this.#right[which] ?? 0) * this.#decay + (isRight ? 1 : 0);
  }

  /** `prior` is expected without experience. */
  rate(which: number, prior: number): number {
    const judged = this.#judged[which] ?? 0;
    const right = this.#right[which] ?? 0;
    return (right + PRIOR_WEIGHT * prior) / (judged + PRIOR_WEIGHT);
  }
}

/** A tally in which each class has a prior of its own. */
export class Rates {
  readonly #prior: (which: number) => number;
  readonly #tally: DraftTally;

  /** `prior` gives the expected rate of a class without experience; see DraftTally. */
  constructor(prior: (which: number) => number, decay: number) {
    this.#prior = prior;
    this.#tally = new DraftTally(decay);
  }

  judge(which: number, isRight: boolean): void {
    this.#tally.judge(which, isRight);
  }

  rate(which: number): number {
    return this.#tally.rate(which, this.#prior(which));
  }
}

/** How often a draft of each depth is right, given that those before it were. */
export class Acceptance {
  readonly #rates: Rates;

  /** `prior` gives the expected rate of a depth (from 1); see Rates. */
  constructor(prior: (depth: number) => number, decay: number) {
    this.#rates = new Rates((which) => prior(which + 1), decay);
  }

  /** Records that the first `accepted` of `drafted` drafts were right; the next one was wrong, and the rest were not judged. */
  judge(drafted: number, accepted: number): void {
    for (let depth = 1; depth <= Math.min(drafted, accepted + 1); depth++)
      this.#rates.judge(depth - 1, depth <= accepted);
  }

  /** Probability that the draft of this depth (from 1) is right, given that those before it are. */
  rate(depth: number): number {
    return this.#rates.rate(depth - 1);
  }

  /** Probability that the drafts up to this depth are all right. */
  reach(depth: number): number {
    let all = 1;
    for (let d = 1; d <= depth; d++) all *= this.rate(d);
    return all;
  }
}
