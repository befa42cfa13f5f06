/** Ticks in a row without a sign of life before the other side counts as gone. Two can be a burst of loss on a bad link. */
export const MAX_MISSED_HEARTBEATS = 3;
/**
 * The same for a tab that waits for its coordinator: a minute at the usual interval. A coordinator that was blocked loses nothing
 * if its tabs wait for it, and their sockets tell them of its end.
 */
export const MAX_MISSED_OF_COORDINATOR = 30;
/** TCP's smoothing of the round-trip time (RFC 6298). */
const RTT_GAIN = 1 / 8;

/** Counts ticks, not time: a process that was asleep gets one late tick, and reads what arrived meanwhile before the next one. */
export class Heartbeat {
  rttMs: number | undefined;
  #missed = 0;
  #nextId = 0;
  /** Send times of unanswered pings; at most one more than may be missed. */
  #sentMs = new Map<number, number>();

  /** Whether a ping has gone unanswered for a whole interval and nothing else has arrived since. */
  get isSilent(): boolean {
    return this.#missed > 1;
  }

  /** Returns the id of the ping to send now, or `dead`. A tick that doesn't count says nothing about the other side. */
  tick(nowMs: number, maxMissed = MAX_MISSED_HEARTBEATS, counts = true): number | 'dead' {
    if (counts && this.#missed >= maxMissed) return 'dead';
    if (counts) this.#missed++;
    const id = this.#nextId++ & 0xff_ffff;
    this.#sentMs.set(id, nowMs);
    if (this.#sentMs.size > maxMissed + 1) {
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
