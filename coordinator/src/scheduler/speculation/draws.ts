import type { Rng } from '@shoal/model';

/**
 * The random numbers of one answer, one for each sampled token. Passes and drafters look ahead, but a number is consumed only
 * when its token is taken, so drafting changes no token.
 */
export class Draws {
  readonly #rng: Rng;
  readonly #ahead: number[] = [];

  constructor(rng: Rng) {
    this.#rng = rng;
  }

  next(): number {
    return this.#ahead.shift() ?? this.#rng();
  }

  /** What `next` will return after `skipped` other calls. */
  peek(skipped: number): number {
    while (this.#ahead.length <= skipped) this.#ahead.push(this.#rng());
    return this.#ahead[skipped]!;
  }
}
