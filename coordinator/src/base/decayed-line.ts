/**
 * A line y = base + slope · x through recent samples, each of which counts `decay` times as much with every one after it.
 * Means and sums about them are kept up to date (West 1979), so that nothing is lost where all x are large and alike.
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

  /** Samples, as they count now: 0 of none. */
  get weight(): number {
    return this.#weight;
  }

  get meanX(): number {
    return this.#meanX;
  }

  get meanY(): number {
    return this.#meanY;
  }

  /** 0 of none. */
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
   * By least squares, the slope drawn towards `assumed` as if the x of as many samples varied by `ridge` about it (ridge
   * regression). Neither is negative: what is measured are times, which grow with x from no less than 0. At least one sample.
   */
  fit(assumed = 0, ridge = 0): { base: number; slope: number } {
    const raw = (this.#products / this.#weight + ridge * assumed) / (this.varianceX + ridge);
    const slope = Math.min(Math.max(0, raw), this.#meanY / this.#meanX);
    return { base: this.#meanY - slope * this.#meanX, slope };
  }
}
