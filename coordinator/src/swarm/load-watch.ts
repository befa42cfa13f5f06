import type { PeerSession } from './peer-session.ts';

/** Deadlines of peers that are loading: each sign of progress begins the time anew. */
export class LoadWatch {
  readonly #timeoutMs: number;
  readonly #onStalled: (peer: PeerSession) => void;
  readonly #timers = new Map<PeerSession, NodeJS.Timeout>();

  constructor(timeoutMs: number, onStalled: (peer: PeerSession) => void) {
    this.#timeoutMs = timeoutMs;
    this.#onStalled = onStalled;
  }

  start(peer: PeerSession): void {
    this.stop(peer);
    const timer = setTimeout(() => this.#onStalled(peer), this.#timeoutMs);
    timer.unref();
    this.#timers.set(peer, timer);
  }

  stop(peer: PeerSession): void {
    clearTimeout(this.#timers.get(peer));
    this.#timers.delete(peer);
  }
}
