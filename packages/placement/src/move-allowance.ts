/**
 * Limits moves that only reduce peers or improve balance, since they share the coordinator's line with laps and missing replicas.
 * 1 GiB per minute is a seventh of 1 Gbit/s: a new 1-GiB tab is filled after a minute, but a swarm that comes and goes does not
 * use up the line on balancing what soon leaves again.
 */
export const MOVE_BYTES_PER_MINUTE = 2 ** 30;
/** Unused allowance that may be saved up, so that a quiet hour isn't followed by a flood. */
export const MAX_SAVED_MINUTES = 4;

/** Token bucket for the bytes that plans may move; full at the start. */
export class MoveAllowance {
  readonly #bytesPerMinute: number;
  #bytes: number;
  #atMs: number | undefined;

  constructor(bytesPerMinute = MOVE_BYTES_PER_MINUTE) {
    this.#bytesPerMinute = bytesPerMinute;
    this.#bytes = bytesPerMinute * MAX_SAVED_MINUTES;
  }

  /** Bytes that may be moved now. */
  at(nowMs: number): number {
    const minutes = Math.max(0, nowMs - (this.#atMs ?? nowMs)) / 60_000;
    this.#atMs = nowMs;
    this.#bytes = Math.min(this.#bytesPerMinute * MAX_SAVED_MINUTES, this.#bytes + minutes * this.#bytesPerMinute);
    return this.#bytes;
  }

  spend(bytes: number): void {
    this.#bytes -= bytes;
  }
}
