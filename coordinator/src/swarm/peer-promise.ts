import { MAX_PROMISES_PER_MINUTE, NO_LIMITS, type PeerView, type RestReason, type TabPromise } from '@shoal/protocol';
import { type Clock, steadyUnixMs } from '../base/clock.ts';
import { TokenBucket } from '../base/token-bucket.ts';

const MINUTE_MS = 60_000;
/** How long before a rest that it has announced a tab's experts go to others. They have to be downloaded and tested meanwhile. */
const HANDOVER_MS = 180_000;
/** A rest of less than this is waited for: others would hardly have loaded the experts before it is over. */
const SHORT_REST_MS = 30_000;
/** A tab that has rested for the first of these, and is not back within the second, frees its memory. */
const RELEASE = { afterMs: 60_000, backWithinMs: 600_000 };

/** A rest, by the swarm's clock. */
interface Rest {
  why: RestReason;
  sinceMs: number;
  /** Infinity if the tab doesn't know. */
  untilMs: number;
}

/** What one tab has promised last, with its times on the coordinator's clock (joint schema: `promiseSchema`). */
export class PeerPromise {
  /** Share of the time that it computes, 0 (exclusive) to 1. */
  share = 1;
  rest: Rest | undefined;

  #restsAtMs = Number.POSITIVE_INFINITY;
  readonly #clock: Clock;
  readonly #messages: TokenBucket;

  constructor(clock: Clock, { share, rest, restsInMs }: TabPromise = NO_LIMITS) {
    this.#clock = clock;
    this.#messages = new TokenBucket(MAX_PROMISES_PER_MINUTE, MINUTE_MS, () => clock.now());
    this.#keep({ share, rest, restsInMs });
  }

  /** It promises something else. False if it has done so too often; nothing changes then. */
  take(promise: TabPromise): boolean {
    if (this.#messages.take() > 0) return false;
    this.#keep(promise);
    return true;
  }

  /** It goes on, but rests soon: others are to have its experts by then. */
  get retires(): boolean {
    return this.rest === undefined && this.#restsAtMs - this.#clock.now() < HANDOVER_MS;
  }

  /** Whether its memory is to be freed, since it is not needed before long. */
  get isLong(): boolean {
    if (this.rest === undefined) return false;
    const nowMs = this.#clock.now();
    return nowMs - this.rest.sinceMs >= RELEASE.afterMs && this.rest.untilMs - nowMs > RELEASE.backWithinMs;
  }

  /** How long others should wait for it before they load its experts: not at all if it is not back soon. */
  get worthWaitingMs(): number {
    const leftMs = (this.rest?.untilMs ?? 0) - this.#clock.now();
    return leftMs <= SHORT_REST_MS ? Math.max(0, leftMs) : 0;
  }

  /** For the console, with times of Unix. */
  get view(): Pick<PeerView, 'share' | 'rest'> {
    const { share, rest } = this;
    const inMs = rest && rest.untilMs - this.#clock.now();
    return {
      ...(share < 1 && { share }),
      ...(rest && {
        rest: { why: rest.why, ...(Number.isFinite(inMs) && { untilMs: Math.round(steadyUnixMs() + inMs!) }) },
      }),
    };
  }

  #keep({ share, rest, restsInMs }: TabPromise): void {
    const nowMs = this.#clock.now();
    this.share = share;
    this.#restsAtMs = restsInMs === undefined ? Number.POSITIVE_INFINITY : nowMs + restsInMs;
    const untilMs = rest?.forMs === undefined ? Number.POSITIVE_INFINITY : nowMs + rest.forMs;
    this.rest = rest && { why: rest.why, untilMs, sinceMs: this.rest?.sinceMs ?? nowMs };
  }
}
