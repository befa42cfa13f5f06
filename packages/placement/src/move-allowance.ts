/**
 * Moves for fewer peers or better balance go over the coordinator's own line, beside laps and missing replicas. 1 GiB a
 * minute is a seventh of 1 Gbit/s: a newcomer with 1 GiB has its share after a minute, a swarm of strangers that come and
 * go does not spend the line on evening out what leaves again.
 */
export const MOVE_BYTES_PER_MINUTE = 2 ** 30;
/** What may be saved up: a quiet hour must not be followed by a flood. */
export const MAX_SAVED_MINUTES = 4;

/** How many bytes the next plan may move; full at the start. */
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
