import type { Clock, Timer } from '../base/clock.ts';
import type { PeerSession } from './peer-session.ts';

/** Deadlines of peers that are loading: each sign of progress begins the time anew. */
export class LoadWatch {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #onStalled: (peer: PeerSession) => void;
  readonly #timers = new Map<PeerSession, Timer>();

  constructor(clock: Clock, timeoutMs: number, onStalled: (peer: PeerSession) => void) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#onStalled = onStalled;
  }

  start(peer: PeerSession): void {
    this.stop(peer);
    const timer = this.#clock.setTimeout(() => this.#onStalled(peer), this.#timeoutMs);
    timer.unref();
    this.#timers.set(peer, timer);
  }

  stop(peer: PeerSession): void {
    this.#clock.clear(this.#timers.get(peer));
    this.#timers.delete(peer);
  }
}
