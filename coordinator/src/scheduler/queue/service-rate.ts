import type { Sequence } from '../sequence.ts';

/** Weight of an observation after the next one: some fifty count. */
const DECAY = 0.98;

/** Decayed mean of weighted values; undefined before the first. */
class Mean {
  #sum = 0;
  #weight = 0;

  add(value: number, weight = 1): void {
    this.#sum = this.#sum * DECAY + value * weight;
    this.#weight = this.#weight * DECAY + weight;
  }

  get value(): number | undefined {
    return this.#weight === 0 ? undefined : this.#sum / this.#weight;
  }
}

/**
 * The rate at which requests are served, measured from the recent ones. It tells how long a waiting request has to wait, and
 * when a rejected one should come back: places in the batch come free one after another, on average every `intervalMs`.
 */
export class ServiceRate {
  readonly #firstTokenMs = new Mean();
  readonly #tokenMs = new Mean();
  readonly #writtenShare = new Mean();
  /** The time that the last rejected request was told to come back at. */
  #promisedMs = Number.NEGATIVE_INFINITY;

  /** A request had its first token this long after its admission. */
  firstToken(ms: number): void {
    this.#firstTokenMs.add(ms);
  }

  /** `count` further tokens of a request came `ms` after those before them. */
  tokens(count: number, ms: number): void {
    this.#tokenMs.add(ms / count, count);
  }

  /** An answer has ended with `tokens` of the `maxTokens` that it might have had. */
  ended(tokens: number, maxTokens: number): void {
    if (maxTokens > 0) this.#writtenShare.add(tokens / maxTokens, maxTokens);
  }

  /**
   * Mean time between two of `places` places in the batch coming free, each taken by requests like these; undefined while
   * unknown. Waiting requests are the better sample: among running ones, long ones are over-represented.
   */
  intervalMs(places: number, requests: readonly Sequence[]): number | undefined {
    const tokenMs = this.#tokenMs.value;
    if (tokenMs === undefined || places === 0 || requests.length === 0) return undefined;
    const meanTokens = requests.reduce((sum, { request }) => sum + request.maxTokens, 0) / requests.length;
    const placeMs = (this.#firstTokenMs.value ?? 0) + meanTokens * (this.#writtenShare.value ?? 1) * tokenMs;
    return placeMs / places;
  }

  /**
   * Milliseconds after which a request that is rejected now should come back: one interval after the last one that was told,
   * at most `maxQueue` intervals from now, so that a flood of rejected requests does not keep the others away.
   */
  retryAfterMs(intervalMs: number, nowMs: number, maxQueue: number): number {
    const nextMs = Math.max(nowMs, this.#promisedMs) + intervalMs;
    this.#promisedMs = Math.min(nextMs, nowMs + Math.max(1, maxQueue) * intervalMs);
    return this.#promisedMs - nowMs;
  }
}
