/** Load from 15 minutes ago counts half: long enough to see past one conversation, short enough to follow a day. */
export const LOAD_HALF_LIFE_MS = 15 * 60_000;

/** Recent rows per expert, decaying with a half-life, computed from cumulative counters. */
export class LoadMeter {
  /** [numExperts] */
  readonly load: Float64Array;
  readonly #seen: Float64Array;
  readonly #halfLifeMs: number;
  #atMs: number | undefined;

  constructor(numExperts: number, halfLifeMs = LOAD_HALF_LIFE_MS) {
    this.load = new Float64Array(numExperts);
    this.#seen = new Float64Array(numExperts);
    this.#halfLifeMs = halfLifeMs;
  }

  /** Reads the counters, [numExperts] rows since start. A counter that fell has been reset. */
  read(counters: ArrayLike<number>, nowMs: number): Float64Array {
    const decay = 0.5 ** (Math.max(0, nowMs - (this.#atMs ?? nowMs)) / this.#halfLifeMs);
    this.#atMs = nowMs;
    for (let e = 0; e < this.load.length; e++) {
      const counted = counters[e]!;
      const fresh = counted >= this.#seen[e]! ? counted - this.#seen[e]! : counted;
      this.#seen[e] = counted;
      this.load[e] = this.load[e]! * decay + fresh;
    }
    return this.load;
  }
}
