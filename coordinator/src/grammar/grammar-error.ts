/** `unsupported` and `too-large` are the client's; the others are the server's. */
export type GrammarErrorReason = 'unsupported' | 'too-large' | 'timeout' | 'full' | 'failed';

/** What an answer must be cannot be had; the message says what is wrong, where, and the remedy. */
export class GrammarError extends Error {
  readonly reason: GrammarErrorReason;
  constructor(reason: GrammarErrorReason, message: string) {
    super(message);
    this.name = 'GrammarError';
    this.reason = reason;
  }
}

export const unsupported = (message: string): GrammarError => new GrammarError('unsupported', message);

/** Bounds the work that one source may cause, by count, so that what is refused does not depend on the machine. */
export class WorkBudget {
  #left: number;
  readonly #what: string;

  /** `what` must not happen more than `most` times: "a grammar of more than … states". */
  constructor(most: number, what: string) {
    this.#left = most;
    this.#what = `more than ${most} ${what}; make the schema or grammar smaller`;
  }

  spend(count = 1): void {
    this.#left -= count;
    if (this.#left < 0) throw new GrammarError('too-large', this.#what);
  }
}
