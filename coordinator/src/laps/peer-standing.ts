import type { Clock } from '../base/clock.ts';
import { LapCost } from './lap-cost.ts';

/** A replica that has not answered for this long, or has failed this long ago, is asked again. */
const STALE_AFTER_MS = 3_000;
/** One that has sent nothing at all since, not even an answer to a heartbeat, is waited for this long: by then its link has ended. */
const SILENT_AFTER_MS = 10_000;

/** What is expected of a peer's next lap, for choosing among replicas. */
export interface LapExpectation {
  standing: 'known' | 'try' | 'avoid';
  /** Of any lap, after those in flight, and of each of its (row, expert) assignments. */
  fixedMs: number;
  perAssignmentMs: number;
}

/** How a peer has done lately, as far as it decides who is asked. */
export class PeerStanding {
  readonly #clock: Clock;
  readonly #bytesReceived: () => number;
  readonly #cost = new LapCost();
  #assignmentsInFlight = 0;
  #lapsInFlight = 0;
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #receivedAtSilence: number | undefined;

  /** @param bytesReceived by the link, heartbeats included */
  constructor(clock: Clock, bytesReceived: () => number) {
    this.#clock = clock;
    this.#bytesReceived = bytesReceived;
  }

  /**
   * `try` before the first answer and when the last one is old, so that one slow lap does not keep a peer idle for good;
   * `avoid` for a while after a failure, so that others are tried first, and for longer while it gives no sign of life: each
   * lap that a frozen peer is asked for costs a stream a deadline.
   */
  get expected(): LapExpectation {
    const nowMs = this.#clock.now();
    const { fixedMs, perAssignmentMs } = this.#cost.line();
    const sinceFailureMs = nowMs - this.#failedAtMs;
    const isSilent = this.#bytesReceived() === this.#receivedAtSilence;
    if (sinceFailureMs < STALE_AFTER_MS || (sinceFailureMs < SILENT_AFTER_MS && isSilent)) {
      return { standing: 'avoid', fixedMs, perAssignmentMs };
    }
    const isStale = nowMs - this.#answeredAtMs > STALE_AFTER_MS;
    if (isStale && this.#lapsInFlight === 0) return { standing: 'try', fixedMs, perAssignmentMs };
    return { standing: 'known', fixedMs: fixedMs + perAssignmentMs * this.#assignmentsInFlight, perAssignmentMs };
  }

  asked(assignments: number): void {
    this.#lapsInFlight++;
    this.#assignmentsInFlight += assignments;
  }

  /** However it ended. */
  settled(assignments: number): void {
    this.#lapsInFlight--;
    this.#assignmentsInFlight -= assignments;
  }

  /** A right answer came, of a test or of work. */
  recovered(): void {
    this.#failedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** It worked. As LapCost.add. */
  answered(assignments: number, lapMs: number, computeMs: number): void {
    this.#answeredAtMs = this.#clock.now();
    this.#cost.add(assignments, lapMs, computeMs);
  }

  failed(): void {
    this.#failedAtMs = this.#clock.now();
  }

  /** It let a lap go unanswered, and has said nothing since. */
  fellSilent(): void {
    this.failed();
    this.#receivedAtSilence = this.#bytesReceived();
  }

  /** It refused a lap: it is there. */
  spoke(): void {
    this.#receivedAtSilence = undefined;
  }
}
