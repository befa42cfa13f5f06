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
  readonly #tally: DraftTally;

  /** `decay` is a draft's weight after the next one. */
  constructor(decay: number) {
    this.#tally = new DraftTally(decay);
  }

  /** Records that the first `accepted` of `drafted` drafts were right; the next one was wrong, and the rest were not judged. */
  judge(drafted: number, accepted: number): void {
    for (let depth = 1; depth <= Math.min(drafted, accepted + 1); depth++)
      this.#tally.judge(depth - 1, depth <= accepted);
  }

  /** [priors.length] Probability that the draft of each depth is right, given that those before it are; priors without experience. */
  rates(priors: readonly number[]): number[] {
    return priors.map((prior, i) => this.#tally.rate(i, prior));
  }

  /** [depths] The same where `first` is all that is expected beforehand, and of each further depth what was seen of the one before it. */
  ratesFrom(first: number, depths: number): number[] {
    let rate = first;
    return Array.from({ length: depths }, (_, i) => (rate = this.#tally.rate(i, rate)));
  }
}

/** [rates.length] Probability that the drafts up to each depth are all right. */
export function reachOf(rates: readonly number[]): number[] {
  let all = 1;
  return rates.map((rate) => (all *= rate));
}
