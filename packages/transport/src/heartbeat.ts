/** Ticks in a row without a sign of life before the other side counts as gone. Two can be a burst of loss on a bad link. */
export const MAX_MISSED_HEARTBEATS = 3;
/** TCP's smoothing of the round-trip time (RFC 6298). */
const RTT_GAIN = 1 / 8;

/** Counts ticks, not time: a process that was asleep gets one late tick, and reads what arrived meanwhile before the next one. */
export class Heartbeat {
  rttMs: number | undefined;
  #missed = 0;
  #nextId = 0;
  /** Send times of unanswered pings; at most MAX_MISSED_HEARTBEATS + 1. */
  #sentMs = new Map<number, number>();

  /** Whether a ping has gone unanswered for a whole interval and nothing else has arrived since. */
  get isSilent(): boolean {
    return this.#missed > 1;
  }

  /** Returns the id of the ping to send now, or `dead`. */
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

  /** Call when anything at all has arrived. */
  alive(): void {
    this.#missed = 0;
  }

  /** Takes the answer to a ping; ignores one that is unknown or too late. */
  pong(id: number, nowMs: number): void {
    const sentMs = this.#sentMs.get(id);
    if (sentMs === undefined) return;
    this.#sentMs.delete(id);
    const sampleMs = nowMs - sentMs;
    this.rttMs = this.rttMs === undefined ? sampleMs : this.rttMs + RTT_GAIN * (sampleMs - this.rttMs);
  }
}
