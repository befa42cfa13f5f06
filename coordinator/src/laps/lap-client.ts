import { randomInt } from 'node:crypto';
import type { ItemAdapters, WorkItem } from '@shoal/model';
import {
  decodeCombine,
  decodeRefuse,
  encodeCancel,
  encodeDispatch,
  FrameError,
  type FrameErrorReason,
  type LapRefusal,
  MAX_LAP_ID,
  peekFrame,
  type RowFormat,
} from '@shoal/protocol';
import { type Link, TransportError } from '@shoal/transport';
import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import { SampleWindow, SecondMedians } from '../base/sample-window.ts';
import type { LapEvent } from '../timeline/timeline.ts';
import { type LapAnswer, LapError, type LapTiming, rowsWithoutSum } from './lap.ts';
import { LapDeadlines } from './lap-deadlines.ts';
import { LapFailures } from './lap-failures.ts';
import { type LapExpectation, PeerStanding } from './peer-standing.ts';

/** Laps in flight to one peer. With more the tab only queues, and a replica or the coordinator is faster. */
const MAX_LAPS_IN_FLIGHT = 32;
/** Ids of laps that have ended, remembered to tell a late or repeated answer from an invented one. */
const MAX_REMEMBERED_LAPS = 4096;
/** Laps whose quantiles are shown: few enough to forget a bad moment. */
const LAP_WINDOW = 64;
/** Laps from which a speed is taken. Fewer measure the warm-up. */
const MIN_LAPS_TO_RATE = 64;
/** For the expected cost, a lap counts as at most this many times the median. */
const MAX_OUTLIER = 3;
const HISTORY_S = 60;
/** Late or repeated answers allowed beyond one per lap. Each is as large as a real one, and a wire may repeat some. */
const MAX_SPARE_ANSWERS = 256;

interface Meter {
  frameBytes: number;
}

interface PendingLap extends AskOptions {
  item: WorkItem;
  sentMs: number;
  sentBytes: number;
  resolve(answer: LapAnswer): void;
  reject(error: LapError): void;
  timer: Timer;
}

/** A lap on its way. */
export interface LapAttempt {
  result: Promise<LapAnswer>;
  /** Somebody else has done its work meanwhile: it is asked last for a while. */
  overtaken: (by: 'peer' | 'coordinator') => void;
}

export interface AskOptions {
  /** By default `LapClient.deadlineMs`. */
  deadlineMs?: number;
  /** Counts the bytes of the lap's frames. A lap without one is a test: it counts neither as work nor for what is expected. */
  meter?: Meter;
  /** Called when the lap is answered or given up. */
  onEnd?: ((event: LapEvent) => void) | undefined;
}

export interface LapClientOptions {
  link: Link;
  hiddenSize: number;
  /** How rows travel to and from this peer; f16 by default. An item's rows must be rounded to it (`itemRows`). */
  rowFormat?: RowFormat;
  epoch: () => number;
  /** The number by which frames name an adapter; undefined if it is gone. Without it, items must have none. */
  adapterNumber?: ((adapter: ItemAdapters['experts'][number]) => number | undefined) | undefined;
  /** Of the time that the peer computes, as it has promised; 1 by default. */
  share?: () => number;
  /** Called at most once, when the peer broke the protocol and has to be dropped. */
  onHostile: (message: string, reason: FrameErrorReason) => void;
  clock?: Clock;
}

/**
 * The laps of one peer: sends dispatch frames, matches combine frames to them, gives each a deadline. An answer that is late,
 * repeated or a refusal never resolves a lap twice; one that no dispatch explains is hostile.
 */
export class LapClient {
  readonly queueMs = new SampleWindow(LAP_WINDOW);
  readonly computeMs = new SampleWindow(LAP_WINDOW);
  readonly wireMs = new SampleWindow(LAP_WINDOW);
  lapsAsked = 0;
  lapsAnswered = 0;
  lapsFailed = 0;
  lateAnswers = 0;
  /** Laps of tests and of probation. */
  testsAnswered = 0;
  /** Rows answered, and rows × experts, without tests and probation. Rows of drafts that were wrong are included. */
  rows = 0;
  assignments = 0;
  readonly failures: LapFailures;

  readonly #options: LapClientOptions;
  readonly #clock: Clock;
  readonly #rowFormat: RowFormat;
  readonly #pending = new Map<number, PendingLap>();
  /** Laps that have ended, each with the meter that counts the bytes of its first late answer. */
  readonly #remembered = new Map<number, Meter | undefined>();
  readonly #history = new SecondMedians(HISTORY_S);
  readonly #standing: PeerStanding;
  readonly #deadlines = new LapDeadlines(() => (this.rows === 0 ? 0 : this.#computeMs / this.rows));
  #computeMs = 0;
  #nextLapId = randomInt(MAX_LAP_ID + 1);
  #lapsSent = 0;
  #closed: string | undefined;

  constructor(options: LapClientOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#rowFormat = options.rowFormat ?? 'f16';
    this.failures = new LapFailures(this.#clock);
    this.#standing = new PeerStanding(this.#clock, () => options.link.stats().bytesReceived, options.share);
  }

  /** Time that it has computed for laps of answers, as it says, and no longer than these took. */
  get computedMs(): number {
    return this.#computeMs;
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  /** Without those of tests. */
  get rowsInFlight(): number {
    let rows = 0;
    for (const { item, meter } of this.#pending.values()) if (meter) rows += item.numRows;
    return rows;
  }

  /** Times of its laps, for quantiles. */
  get lapMs(): SampleWindow {
    return this.#deadlines.lapMs;
  }

  /** Its usual time for a lap of few rows; that of its tests before its first lap, and 0 before these. */
  get usualMs(): number {
    return this.#deadlines.usualMs;
  }

  /**
   * Whether nobody should have to wait for its next lap: it has failed, or has not answered lately, or its laps are not known
   * yet. `untried` until its first answer.
   */
  get trial(): 'untried' | 'doubtful' | undefined {
    if (this.lapsAnswered === 0) return 'untried';
    return this.#standing.isKnown && this.#deadlines.areKnown ? undefined : 'doubtful';
  }

  /** What a further lap is expected to take, for choosing among replicas. */
  get expected(): LapExpectation {
    return this.#standing.expected;
  }

  /** How long a lap that is sent now would wait in the tab, which has used the share of the time that its donor allows. */
  get restMs(): number {
    return this.#standing.restMs;
  }

  /** (row, expert) assignments a second of its backend while it had work; undefined while too little is known. */
  get assignmentsPerSecond(): number | undefined {
    if (this.lapsAnswered < MIN_LAPS_TO_RATE || this.#computeMs === 0) return undefined;
    return (this.assignments * 1000) / this.#computeMs;
  }

  /** The time that a lap of this many rows is given, from what this peer's laps took. */
  deadlineMs(numRows: number): number {
    return this.restMs + this.#deadlines.deadlineMs(numRows, this.#options.link.stats().rttMs ?? 0);
  }

  /** The time after which a lap of this many rows is late enough to ask a replica as well. */
  hedgeAfterMs(numRows: number): number {
    return this.restMs + this.#deadlines.lateAfterMs(numRows);
  }

  /** Median lap times of the last 60 s, one a second. */
  historyMs(): (number | null)[] {
    return this.#history.until(this.#clock.now());
  }

  /** Sends one lap. Rejects with a LapError when it is not answered in time or refused, or when the link ends. */
  ask(item: WorkItem, options: AskOptions = {}): Promise<LapAnswer> {
    return this.attempt(item, options).result;
  }

  /** As `ask`, and can be told that somebody else was faster. */
  attempt(item: WorkItem, options: AskOptions = {}): LapAttempt {
    const lapId = this.#nextLapId;
    this.#nextLapId = lapId === MAX_LAP_ID ? 0 : lapId + 1;
    this.#lapsSent++;
    return { result: this.#send(lapId, item, options), overtaken: (by) => this.#overtaken(lapId, by) };
  }

  async #send(lapId: number, item: WorkItem, options: AskOptions): Promise<LapAnswer> {
    if (this.#closed !== undefined) throw new LapError('closed', this.#closed);
    if (this.#pending.size >= MAX_LAPS_IN_FLIGHT)
      throw new LapError('busy', `${MAX_LAPS_IN_FLIGHT} laps are in flight`);
    const { hiddenSize, link, epoch } = this.#options;
    const adapterNumbers = this.#adapterNumbers(item);
    const frame = encodeDispatch({
      ...item,
      adapterNumbers,
      lapId,
      epoch: epoch(),
      hiddenSize,
      rowFormat: this.#rowFormat,
    });
    if (options.meter) {
      this.lapsAsked++;
      options.meter.frameBytes += frame.length;
    }
    const answer = this.#answerOf(lapId, item, frame.length, options);
    link.send(frame).catch((error: unknown) => {
      if (!(error instanceof TransportError)) throw error;
      this.#fail(lapId, new LapError(error.reason === 'closed' ? 'closed' : 'busy', error.message));
    });
    return answer;
  }

  #adapterNumbers({ adapters }: WorkItem): ItemAdapters<number> | undefined {
    if (!adapters) return undefined;
    const experts = adapters.experts.map((adapter) => {
      const number = this.#options.adapterNumber?.(adapter);
      if (number === undefined) throw new LapError('busy', 'an adapter of the lap was unloaded');
      return number;
    });
    return { ...adapters, experts };
  }

  /**
   * Others have computed the rows of an answer that have no finite sum, as it says. If they have one, that counts as a refusal
   * that an honest tab may have a reason for.
   */
  checked({ sentMs }: LapAnswer, hasSum: boolean): void {
    if (hasSum) this.failures.withheld(sentMs);
    else this.failures.answered();
  }

  /** Fails every lap in flight and accepts no new ones. */
  close(reason: string): void {
    this.#closed ??= reason;
    for (const lapId of this.#pending.keys()) this.#fail(lapId, new LapError('closed', reason));
  }

  /** Takes a frame from the peer. Never throws. */
  receive(bytes: Uint8Array): void {
    if (this.#closed !== undefined) return;
    try {
      const { type, lapId } = peekFrame(bytes);
      if (type !== 'combine' && type !== 'refuse') throw new FrameError('bad-type', `A peer sends no ${type}.`);
      const pending = this.#pending.get(lapId);
      if (pending === undefined) return this.#late(lapId, bytes);
      // A refusal's bytes count as an answer's do.
      if (pending.meter) pending.meter.frameBytes += bytes.length;
      if (type === 'refuse') this.#refused(lapId, pending, decodeRefuse(bytes).reason);
      else this.#answered(lapId, pending, bytes);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.close(`the peer sent a frame that cannot be: ${error.message}`);
      this.#options.onHostile(error.message, error.reason);
    }
  }

  /** The answer to a lap that is about to be sent, or its failure by the deadline. */
  #answerOf(lapId: number, item: WorkItem, sentBytes: number, options: AskOptions): Promise<LapAnswer> {
    const deadlineMs = options.deadlineMs ?? this.deadlineMs(item.numRows);
    return new Promise((resolve, reject) => {
      // Timers fire before sockets are read: an answer that came while this process was busy has not been seen yet.
      const missed = (): void => this.#missed(lapId, deadlineMs);
      const timer = this.#clock.setTimeout(() => this.#clock.setImmediate(missed), deadlineMs);
      this.#standing.asked(item.experts.length);
      this.#pending.set(lapId, { ...options, item, sentMs: this.#clock.now(), sentBytes, resolve, reject, timer });
    });
  }

  #missed(lapId: number, deadlineMs: number): void {
    const pending = this.#pending.get(lapId);
    if (pending === undefined) return;
    this.failures.missed(pending.sentMs);
    if (pending.meter) this.lapsFailed++;
    this.#giveUp(lapId, pending, new LapError('deadline', `no answer within ${Math.round(deadlineMs)} ms`));
  }

  /**
   * The lap is not given up: its answer, or its deadline, tells what the peer is worth. One that lets the coordinator, which has
   * other work, be faster again and again is of no use, whatever it answers in the end.
   */
  #overtaken(lapId: number, by: 'peer' | 'coordinator'): void {
    const pending = this.#pending.get(lapId);
    if (pending === undefined) return;
    this.#standing.fellSilent();
    if (by === 'coordinator' && this.#deadlines.areKnown) this.failures.overtaken(pending.sentMs);
  }

  /** Tells the peer, best effort, and prefers replicas for a while, since it may have fallen silent. */
  #giveUp(lapId: number, pending: PendingLap, error: LapError): void {
    const { meter } = pending;
    const frame = encodeCancel({ lapId });
    if (meter) meter.frameBytes += frame.length;
    this.#options.link.send(frame).catch(() => {});
    this.#standing.fellSilent();
    this.#settle(lapId, pending, { failure: error.reason }, meter);
    pending.reject(error);
  }

  #late(lapId: number, bytes: Uint8Array): void {
    if (!this.#remembered.has(lapId)) throw new FrameError('mismatch', `Lap ${lapId} was never asked of this peer.`);
    this.lateAnswers++;
    if (this.lateAnswers > this.#lapsSent + MAX_SPARE_ANSWERS) {
      throw new FrameError(
        'mismatch',
        `It repeats answers without end: ${this.lateAnswers} to ${this.#lapsSent} laps.`,
      );
    }
    const meter = this.#remembered.get(lapId);
    if (meter) meter.frameBytes += bytes.length;
    this.#remembered.set(lapId, undefined);
  }

  #answered(lapId: number, pending: PendingLap, bytes: Uint8Array): void {
    const { numRows } = pending.item;
    const { hiddenSize } = this.#options;
    const frame = decodeCombine(bytes, { hiddenSize, numRows, rowFormat: this.#rowFormat });
    const lapMs = this.#clock.now() - pending.sentMs;
    // The peer's own clock is only believed within the lap.
    const computeMs = Math.min(frame.computeUs / 1000, lapMs);
    const queueMs = Math.min(frame.queueUs / 1000, lapMs - computeMs);
    const timing = { lapMs, queueMs, computeMs };
    this.#settle(lapId, pending, { receivedBytes: bytes.length, queueMs, computeMs });
    this.#standing.recovered();
    this.#standing.computed(computeMs);
    if (!pending.meter) this.#recordTest(lapMs);
    // An answer without all sums may have cost nothing, and tells nothing before it was checked.
    else if (rowsWithoutSum(frame.partial, hiddenSize).length > 0) this.lapsAnswered++;
    else this.#record(timing, pending.item);
    pending.resolve({ partial: frame.partial, timing, sentMs: pending.sentMs });
  }

  #refused(lapId: number, pending: PendingLap, reason: LapRefusal): void {
    this.#standing.refused();
    this.failures.refused(pending.sentMs, reason);
    this.#fail(lapId, new LapError('refused', `the peer refused the lap: ${reason}`, reason));
  }

  #fail(lapId: number, error: LapError): void {
    const pending = this.#pending.get(lapId);
    if (pending === undefined) return;
    if (pending.meter) this.lapsFailed++;
    this.#settle(lapId, pending, { failure: error.reason });
    pending.reject(error);
  }

  /** Ends a lap. `lateMeter` counts the bytes of an answer that still comes. */
  #settle(lapId: number, pending: PendingLap, outcome: Partial<LapEvent>, lateMeter?: Meter): void {
    const { item, timer, sentMs, sentBytes, onEnd } = pending;
    this.#clock.clear(timer);
    this.#standing.settled(item.experts.length);
    this.#pending.delete(lapId);
    this.#remembered.set(lapId, lateMeter);
    if (this.#remembered.size > MAX_REMEMBERED_LAPS) this.#remembered.delete(this.#remembered.keys().next().value!);
    const { layer, numRows: rows } = item;
    const times = { startedMs: sentMs, endedMs: this.#clock.now(), queueMs: 0, computeMs: 0 };
    onEnd?.({ lapId, layer, rows, sentBytes, receivedBytes: 0, ...times, ...outcome });
  }

  #recordTest(lapMs: number): void {
    this.testsAnswered++;
    this.#deadlines.testMs.add(lapMs);
  }

  #record({ lapMs, queueMs, computeMs }: LapTiming, { numRows, experts }: WorkItem): void {
    this.failures.answered();
    this.#deadlines.answered(lapMs, numRows);
    this.queueMs.add(queueMs);
    this.computeMs.add(computeMs);
    this.wireMs.add(lapMs - queueMs - computeMs);
    this.#history.add(this.#clock.now(), lapMs);
    // A lap that was held up for long says nothing of its size.
    this.#standing.answered(experts.length, Math.min(lapMs, MAX_OUTLIER * this.lapMs.quantile(0.5)!), computeMs);
    this.lapsAnswered++;
    this.rows += numRows;
    this.assignments += experts.length;
    this.#computeMs += computeMs;
  }
}
