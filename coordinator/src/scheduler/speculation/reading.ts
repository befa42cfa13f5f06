/** Whether the MTP module is given the main model's hidden state after its final norm, or before it. */
export type HiddenReading = 'after-norm' | 'before-norm';

const READINGS: readonly HiddenReading[] = ['after-norm', 'before-norm'];
/** First drafts of each reading that are judged before one is chosen. */
const ENOUGH = 256;
/** Or so many, where the difference is this many standard errors. */
const ENOUGH_WHEN_CLEAR = 12;
const CLEAR = 3;

export interface ReadingTally {
  judged: number;
  accepted: number;
}

/**
 * Public sources disagree on the reading, and no config says it: answers take turns until enough first drafts of each were
 * judged, and from then on the better one is used. Drafts alone depend on it, never an answer.
 */
export class HiddenReadings {
  readonly tallies: Readonly<Record<HiddenReading, ReadingTally>> = {
    'after-norm': { judged: 0, accepted: 0 },
    'before-norm': { judged: 0, accepted: 0 },
  };
  readonly #onChosen: (reading: HiddenReading) => void;
  #turn = 0;
  #chosen: HiddenReading | undefined;

  constructor(onChosen: (reading: HiddenReading) => void) {
    this.#onChosen = onChosen;
  }

  /** undefined while both are tried. */
  get chosen(): HiddenReading | undefined {
    return this.#chosen;
  }

  /** For the next answer. */
  next(): HiddenReading {
    return this.#chosen ?? READINGS[this.#turn++ % READINGS.length]!;
  }

  /** A first draft was compared with the model's own choice. */
  judge(reading: HiddenReading, accepted: boolean): void {
    const tally = this.tallies[reading];
    tally.judged++;
    if (accepted) tally.accepted++;
    if (this.#chosen === undefined && this.#isEnough()) {
      const [after, before] = READINGS.map((each) => rateOf(this.tallies[each])) as [number, number];
      this.#chosen = before > after ? 'before-norm' : 'after-norm';
      this.#onChosen(this.#chosen);
    }
  }

  #isEnough(): boolean {
    const [a, b] = READINGS.map((each) => this.tallies[each]) as [ReadingTally, ReadingTally];
    const fewest = Math.min(a.judged, b.judged);
    if (fewest >= ENOUGH) return true;
    if (fewest < ENOUGH_WHEN_CLEAR) return false;
    // Two proportions, pooled.
    const p = (a.accepted + b.accepted) / (a.judged + b.judged);
    const error = Math.sqrt(p * (1 - p) * (1 / a.judged + 1 / b.judged));
    return Math.abs(rateOf(a) - rateOf(b)) > CLEAR * error && error > 0;
  }
}

function rateOf({ judged, accepted }: ReadingTally): number {
  return accepted / judged;
}
