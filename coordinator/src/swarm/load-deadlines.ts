import { startDeadline } from '@shoal/transport';
import type { Clock } from '../base/clock.ts';
import type { PeerSession } from './peer-session.ts';

/** A line that brings less than this, half a megabit a second, is too slow for experts. */
const MIN_BYTES_PER_MS = 64;

interface Load {
  /** Cancels its deadline. */
  cancel: () => void;
  /** The most that was reported, which only counts as progress if it grows. */
  doneBytes: number;
  /** What it had to load when it began. */
  bytes: number;
  /** However much is reported, it has to be over by then. */
  endMs: number;
}

/** Deadlines of peers that are loading experts: between two signs of progress, and for all of it. */
export class LoadDeadlines {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #onExpired: (peer: PeerSession) => void;
  readonly #loads = new Map<PeerSession, Load>();

  constructor(clock: Clock, timeoutMs: number, onExpired: (peer: PeerSession) => void) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#onExpired = onExpired;
  }

  /**
   * Starts the peer's deadlines. `bytes`: what it has to load, by the coordinator's own reckoning. While it is loading already,
   * it gets more time only for what is added: assignments may change as often as tabs come and go.
   */
  start(peer: PeerSession, bytes: number): void {
    const nowMs = this.#clock.now();
    const before = this.#loads.get(peer);
    const inAllMs = nowMs + this.#timeoutMs + bytes / MIN_BYTES_PER_MS;
    const endMs = before
      ? Math.min(inAllMs, before.endMs + Math.max(0, bytes - before.bytes) / MIN_BYTES_PER_MS)
      : inAllMs;
    this.stop(peer);
    this.#loads.set(peer, { cancel: this.#expire(peer, endMs), doneBytes: 0, bytes, endMs });
  }

  /** The peer has loaded this much. Only more than before counts. */
  progress(peer: PeerSession, doneBytes: number): void {
    const load = this.#loads.get(peer);
    if (load === undefined || doneBytes <= load.doneBytes) return;
    load.cancel();
    this.#loads.set(peer, { ...load, cancel: this.#expire(peer, load.endMs), doneBytes });
  }

  stop(peer: PeerSession): void {
    this.#loads.get(peer)?.cancel();
    this.#loads.delete(peer);
  }

  #expire(peer: PeerSession, endMs: number): () => void {
    const inMs = Math.max(0, Math.min(this.#timeoutMs, endMs - this.#clock.now()));
    return startDeadline(() => this.#onExpired(peer), inMs, this.#clock);
  }
}
