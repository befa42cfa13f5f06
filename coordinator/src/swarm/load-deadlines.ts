import { startDeadline } from '@shoal/transport';
import type { Clock } from '../base/clock.ts';
import type { PeerSession } from './peer-session.ts';

/** Deadlines of peers that are loading experts. */
export class LoadDeadlines {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #onExpired: (peer: PeerSession) => void;
  /** Each cancels a peer's deadline. */
  readonly #deadlines = new Map<PeerSession, () => void>();

  constructor(clock: Clock, timeoutMs: number, onExpired: (peer: PeerSession) => void) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#onExpired = onExpired;
  }

  /** Starts the peer's deadline, or starts it again after progress. */
  start(peer: PeerSession): void {
    this.stop(peer);
    this.#deadlines.set(
      peer,
      startDeadline(() => this.#onExpired(peer), this.#timeoutMs, this.#clock),
    );
  }

  stop(peer: PeerSession): void {
    this.#deadlines.get(peer)?.();
    this.#deadlines.delete(peer);
  }
}
