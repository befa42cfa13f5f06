import type { Rng } from '@shoal/model';

/**
 * The random numbers of one answer, one for each sampled token. A pass is given those of all its rows, and a drafter looks at
 * those to come, but none is used up before its token is taken: whether anybody drafts changes no token.
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

  /** What the call of `next` after `skipped` others will return. */
  peek(skipped: number): number {
    while (this.#ahead.length <= skipped) this.#ahead.push(this.#rng());
    return this.#ahead[skipped]!;
  }
}
