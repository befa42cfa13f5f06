import { setTimeout as delay } from 'node:timers/promises';
import { WeightsError } from '../../errors.ts';
import { HubError, PassingError } from './hub-error.ts';

/** How patient a download is. */
export interface HubPatience {
  /** Tries in a row of a request that is answered at once, as for a list of files. */
  tries: number;
  /** Tries in a row without a new byte of a file. */
  fileTries: number;
  /** Before the second try; it doubles with each, up to `maxDelayMs`. */
  delayMs: number;
  maxDelayMs: number;
  /** The longest that a hub may ask to wait (`Retry-After`). */
  maxAskedMs: number;
  /** Until an answer begins. */
  answerMs: number;
  /** Between two pieces of an answer. */
  stallMs: number;
}

export const PATIENCE: HubPatience = {
  tries: 5,
  fileTries: 10,
  delayMs: 1_000,
  maxDelayMs: 30_000,
  maxAskedMs: 15 * 60_000,
  answerMs: 30_000,
  stallMs: 60_000,
};

/** The next delay after some failures in a row: twice the one before, of which a random half is left out, so that many clients part. */
export function backoffMs(failures: number, { delayMs, maxDelayMs }: HubPatience): number {
  return Math.min(maxDelayMs, delayMs * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
}

/** Tells failures of one kind of work in a row, and waits between them. */
export class Backoff {
  readonly #patience: HubPatience;
  readonly #tries: number;
  readonly #signal: AbortSignal | undefined;
  readonly #onNotice: (text: string) => void;
  #failures = 0;

  constructor(
    patience: HubPatience,
    tries: number,
    {
      signal,
      onNotice = () => {},
    }: { signal?: AbortSignal | undefined; onNotice?: ((text: string) => void) | undefined } = {},
  ) {
    this.#patience = patience;
    this.#tries = tries;
    this.#signal = signal;
    this.#onNotice = onNotice;
  }

  /** There was progress. */
  reset(): void {
    this.#failures = 0;
  }

  /** Resolves when it is time for another try; throws the error if it does not pass, or the tries are used up. */
  async wait(error: unknown): Promise<void> {
    throwIfStopped(this.#signal);
    if (!(error instanceof PassingError)) throw error;
    this.#failures++;
    const asked = error.afterMs ?? 0;
    if (asked > this.#patience.maxAskedMs) {
      const problem = `${error.message}, and asks to wait for ${Math.ceil(asked / 60_000)} minutes`;
      throw new HubError('unavailable', `${problem}; run again then: what is fetched is kept`, { cause: error });
    }
    if (this.#failures >= this.#tries) {
      const tried = this.#tries === 1 ? '' : ` (tried ${this.#tries} times)`;
      const remedy =
        error.reason === 'no-network' ? 'check the connection, or the address in HF_ENDPOINT' : 'try again later';
      throw new HubError(error.reason, `${error.message}${tried}; ${remedy}: what is fetched is kept`, {
        cause: error,
      });
    }
    const waitMs = Math.max(asked, backoffMs(this.#failures, this.#patience));
    if (waitMs >= 1_000) this.#onNotice(`${error.message}: trying again in ${Math.round(waitMs / 1000)} s`);
    await delay(waitMs, undefined, this.#signal && { signal: this.#signal }).catch(() => throwIfStopped(this.#signal));
  }
}

/** Throws WeightsError `aborted`. */
export function throwIfStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new WeightsError('aborted', 'the download was interrupted; run again to go on where it stopped');
  }
}
