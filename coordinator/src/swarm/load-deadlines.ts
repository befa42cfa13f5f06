import type { Clock, Timer } from '../base/clock.ts';
import type { PeerSession } from './peer-session.ts';

/** Deadlines of peers that are loading experts. */
export class LoadDeadlines {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #onExpired: (peer: PeerSession) => void;
  readonly #timers = new Map<PeerSession, Timer>();

  constructor(clock: Clock, timeoutMs: number, onExpired: (peer: PeerSession) => void) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#onExpired = onExpired;
  }

  /** Starts the peer's deadline, or starts it again after progress. */
  start(peer: PeerSession): void {
    this.stop(peer);
    const timer = this.#clock.setTimeout(() => this.#onExpired(peer), this.#timeoutMs);
    timer.unref();
    this.#timers.set(peer, timer);
  }

  stop(peer: PeerSession): void {
    this.#clock.clear(this.#timers.get(peer));
    this.#timers.delete(peer);
  }
}
