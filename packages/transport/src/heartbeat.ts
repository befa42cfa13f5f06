/** Ticks in a row without a sign of life after which the other side counts as gone. Two may be a burst of loss on a bad link. */
export const MAX_MISSED_HEARTBEATS = 3;
/** As TCP smooths its round-trip time (RFC 6298). */
const RTT_GAIN = 1 / 8;

/**
 * Counts ticks, not time: a process that was itself asleep gets one late tick, and reads what arrived meanwhile before the next.
 */
export class Heartbeat {
  rttMs: number | undefined;
  #missed = 0;
  #nextId = 0;
  /** Pings not answered yet and when they were sent; at most MAX_MISSED_HEARTBEATS + 1. */
  #sentMs = new Map<number, number>();

  /** A ping of a whole interval ago is not answered, nor has anything else arrived since. */
  get isSilent(): boolean {
    return this.#missed > 1;
  }

  /** The id of the ping to send now, or `dead`. */
  tick(nowMs: number): number | 'dead' {
    if (this.#missed >= MAX_MISSED_HEARTBEATS) return 'dead';
    this.#missed++;
    const id = this.#nextId++ & 0xff_ffff;
    this.#sentMs.set(id, nowMs);
    if (this.#sentMs.size > MAX_MISSED_HEARTBEATS + 1) {
      const oldest = this.#sentMs.keys().next();
      if (!oldest.done) this.#sentMs.delete(oldest.value);
    }
    return id;
  }

  /** Anything at all arrived. */
  alive(): void {
    this.#missed = 0;
  }

  /** An answer. One to no ping of ours is ignored: it may be late. */
  pong(id: number, nowMs: number): void {
    const sentMs = this.#sentMs.get(id);
    if (sentMs === undefined) return;
    this.#sentMs.delete(id);
    const sampleMs = nowMs - sentMs;
    this.rttMs = this.rttMs === undefined ? sampleMs : this.rttMs + RTT_GAIN * (sampleMs - this.rttMs);
  }
}
