import { DutyAccount } from '@shoal/protocol';
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
  /** The same account as the tab's own, kept of what it says to have computed. */
  readonly #duty: DutyAccount;
  readonly #share: () => number;
  #computeMs = 0;
  #computedAtMs = Number.NEGATIVE_INFINITY;
  #assignmentsInFlight = 0;
  #lapsInFlight = 0;
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #failedAtMs = Number.NEGATIVE_INFINITY;
  #receivedAtSilence: number | undefined;

  /**
   * @param bytesReceived by the link, heartbeats included
   * @param share of the time that it computes, as it has promised
   */
  constructor(clock: Clock, bytesReceived: () => number, share: () => number = () => 1) {
    this.#clock = clock;
    this.#share = share;
    this.#duty = new DutyAccount(() => clock.now());
    this.#bytesReceived = bytesReceived;
  }

  /**
   * `try` before the first answer and when the last one is old, so that one slow lap does not keep a peer idle for good: with
   * one lap at a time, since it may not be answered. `avoid` meanwhile, for a while after a failure, and for longer while the
   * peer gives no sign of life: each lap that is sent to a frozen peer costs a stream a hedge or a deadline. `avoid` also while it
   * would first have to rest, by its donor's limit.
   */
  get expected(): LapExpectation {
    const { restMs } = this;
    const expected = this.#measured;
    return restMs === 0 ? expected : { ...expected, standing: 'avoid', fixedMs: expected.fixedMs + restMs };
  }

  /** Whether its laps are as usual, apart from rests. */
  get isKnown(): boolean {
    return this.#measured.standing === 'known';
  }

  /** How long a lap that is sent now waits because the tab has used its share of the time. */
  get restMs(): number {
    const share = this.#share();
    if (share !== this.#duty.share) this.#duty.share = share;
    return this.#duty.restMs(this.#lapsInFlight * this.#computeMs);
  }

  /**
   * An answer came, whose lap was computed in `computeMs`. Laps that were computed together say the same time each, and come
   * together: only what no earlier answer has covered counts.
   */
  computed(computeMs: number): void {
    const nowMs = this.#clock.now();
    this.#duty.spend(Math.min(computeMs, nowMs - this.#computedAtMs));
    this.#computedAtMs = nowMs;
    this.#computeMs += (computeMs - this.#computeMs) / 8;
  }

  get #measured(): LapExpectation {
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
