import type { Clock } from '../base/clock.ts';
import { LapCost } from './lap-cost.ts';

/** After this long without an answer, or since a failure, a replica is tried again. */
const STALE_AFTER_MS = 3_000;
/** A peer that has sent nothing since a failure, not even an answer to a heartbeat, is avoided for this long. By then its link has ended. */
const SILENT_AFTER_MS = 10_000;

/** What is expected of a peer's next lap, for choosing among replicas. */
export interface LapExpectation {
  standing: 'known' | 'try' | 'avoid';
  /** Of any lap, after those in flight, and of each of its (row, expert) assignments. */
  fixedMs: number;
  perAssignmentMs: number;
}

/** How a peer has done recently, as far as it decides which replica is asked. */
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
   * `try` before the first answer and when the last one is old, so that one slow lap does not keep a peer idle for good: with
   * one lap at a time, since it may not be answered. `avoid` meanwhile, for a while after a failure, and for longer while the
   * peer gives no sign of life: each lap that is sent to a frozen peer costs a stream a hedge or a deadline.
   */
  get expected(): LapExpectation {
    const nowMs = this.#clock.now();
    const { fixedMs, perAssignmentMs } = this.#cost.line();
    const sinceFailureMs = nowMs - this.#failedAtMs;
    const isSilent = this.#bytesReceived() === this.#receivedAtSilence;
    if (sinceFailureMs < STALE_AFTER_MS || (sinceFailureMs < SILENT_AFTER_MS && isSilent)) {
      return { standing: 'avoid', fixedMs, perAssignmentMs };
    }
    if (nowMs - this.#answeredAtMs > STALE_AFTER_MS) {
      return { standing: this.#lapsInFlight === 0 ? 'try' : 'avoid', fixedMs, perAssignmentMs };
    }
    return { standing: 'known', fixedMs: fixedMs + perAssignmentMs * this.#assignmentsInFlight, perAssignmentMs };
  }

  asked(assignments: number): void {
    this.#lapsInFlight++;
    this.#assignmentsInFlight += assignments;
  }

  /** A lap ended, answered or not. */
  settled(assignments: number): void {
    this.#lapsInFlight--;
    this.#assignmentsInFlight -= assignments;
  }

  /** A valid answer came, to a test or a lap. */
  recovered(): void {
    this.#failedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** A lap was answered. Arguments as of LapCost.add. */
  answered(assignments: number, lapMs: number, computeMs: number): void {
    this.#answeredAtMs = this.#clock.now();
    this.#cost.add(assignments, lapMs, computeMs);
  }

  failed(): void {
    this.#failedAtMs = this.#clock.now();
  }

  /** A lap went unanswered. */
  fellSilent(): void {
    this.failed();
    this.#receivedAtSilence = this.#bytesReceived();
  }

  /** A lap was refused, for whatever reason: a failure, but a sign of life. */
  refused(): void {
    this.failed();
    this.#receivedAtSilence = undefined;
  }
}
