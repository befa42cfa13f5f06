/**
 * A line y = base + slope · x through recent samples, whose weight falls by the factor `decay` with each new one. Means and
 * central sums are updated (West 1979), so that no precision is lost where all x are large and similar.
 */
export class DecayedLine {
  readonly #decay: number;
  #weight = 0;
  #meanX = 0;
  #meanY = 0;
  /** Decayed sums of (x − mean x)² and (x − mean x)(y − mean y). */
  #squares = 0;
  #products = 0;

  constructor(decay: number) {
    this.#decay = decay;
  }

  /** The sum of the samples' weights. */
  get weight(): number {
    return this.#weight;
  }

  get meanX(): number {
    return this.#meanX;
  }

  get meanY(): number {
    return this.#meanY;
  }

  /** 0 without samples. */
  get varianceX(): number {
    return this.#weight === 0 ? 0 : this.#squares / this.#weight;
  }

  add(x: number, y: number): void {
    this.#weight = this.#weight * this.#decay + 1;
    const offX = x - this.#meanX;
    const offY = y - this.#meanY;
    this.#meanX += offX / this.#weight;
    this.#meanY += offY / this.#weight;
    this.#squares = this.#squares * this.#decay + offX * (x - this.#meanX);
    this.#products = this.#products * this.#decay + offX * (y - this.#meanY);
  }

  clear(): void {
    this.#weight = this.#meanX = this.#meanY = this.#squares = this.#products = 0;
  }

  /**
   * Fits by least squares, with the slope drawn towards `assumed` as if the samples' x had an additional variance of `ridge`
   * with that slope (ridge regression). Neither is negative: the samples are times, which grow with x. Needs a sample.
   */
  fit(assumed = 0, ridge = 0): { base: number; slope: number } {
    const raw = (this.#products / this.#weight + ridge * assumed) / (this.varianceX + ridge);
    const slope = Math.min(Math.max(0, raw), this.#meanY / this.#meanX);
    return { base: this.#meanY - slope * this.#meanX, slope };
  }
}
