import { randomInt } from 'node:crypto';
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
import type { Attempt } from './hedge.ts';
import { type LapAnswer, LapError } from './lap.ts';
import type { WorkItem } from '@shoal/model';
import { SampleWindow, SecondMedians } from '../base/sample-window.ts';
import { type LapExpectation, PeerStanding } from './peer-standing.ts';
import type { LapEvent } from '../timeline/timeline.ts';

/** Refusals that say nothing against the peer (docs/PROTOCOL.md). */
const INNOCENT_REFUSALS: ReadonlySet<LapRefusal> = new Set(['paused', 'busy', 'stale-epoch']);

/** Laps in flight to one peer. Beyond it a tab only queues, and a replica or the coordinator is faster. */
const MAX_LAPS_IN_FLIGHT = 32;
/** Ids of answered or given-up laps that are remembered, to tell a late or repeated answer from an invented one. */
const MAX_REMEMBERED_LAPS = 4096;
/** No round trip is judged faster than this while few laps are known: shaders warm up, code is compiled. */
const MIN_DEADLINE_MS = 1_000;
/** And with so many known as tell a 95th percentile: a tab's garbage collection and a busy machine's scheduling stay below it. */
const MIN_KNOWN_DEADLINE_MS = 300;
/** Before anything is measured: a first lap may wait for shader warm-up. */
const FIRST_DEADLINE_MS = 10_000;
const MAX_DEADLINE_MS = 15_000;
/** A lap later than this many times its peer's 95th percentile is given up. */
const DEADLINE_FACTOR = 6;
/** Of so many laps the median is what is expected of the next: few enough to forget a bad moment. */
const LAP_WINDOW = 64;
/** Fewer laps don't tell a 95th percentile. */
const MIN_SAMPLES = 20;
/** Below this, lateness is the noise of timers and schedulers. */
const MIN_HEDGE_MS = 10;
/** Fewer laps tell a warm-up rather than a speed. */
const MIN_LAPS_TO_RATE = 64;
/** A lap counts for no more than so many times the median. */
const MAX_OUTLIER = 3;
/** An answer that is later than the median by half of it will most often be there before a replica's. */
const WORTH_A_HEDGE = 1.5;
const HISTORY_S = 60;

interface PendingLap {
  request: { layer: number; numRows: number; assignments: number };
  sentMs: number;
  resolve(answer: LapAnswer): void;
  reject(error: LapError): void;
  timer: Timer;
  meter: Meter | undefined;
  sentBytes: number;
  onEnd: ((event: LapEvent) => void) | undefined;
}

interface Meter {
  frameBytes: number;
}

export interface AskOptions {
  deadlineMs?: number;
  /**
   * Told of the bytes of the frames sent and received. A lap without one is a test: it counts neither as work nor towards
   * what is expected of the peer.
   */
  meter?: Meter;
  /** Told of the lap when it is answered or given up. */
  onEnd?: ((event: LapEvent) => void) | undefined;
}

/**
 * Answers that resolve nothing, beyond one for each lap: a wire may deliver some twice. Who sends more makes work that nobody
 * asked for, and the frames are as large as real ones.
 */
const MAX_SPARE_ANSWERS = 256;

export interface LapClientOptions {
  link: Link;
  hiddenSize: number;
  /** How rows travel both ways; f16 by default. Rows that are asked with must be as it rounds them (`roundRows`). */
  rowFormat?: RowFormat;
  epoch: () => number;
  /** The peer broke the protocol: drop it. Called at most once. */
  onHostile: (message: string, reason: FrameErrorReason) => void;
  clock?: Clock;
}

/**
 * The laps of one peer: sends dispatch frames, matches combine frames to them, gives each a deadline. Whatever arrives
 * late, twice or refused resolves nothing twice; what cannot be explained by our own requests is hostile.
 */
export class LapClient {
  readonly lapMs = new SampleWindow(LAP_WINDOW);
  readonly queueMs = new SampleWindow(LAP_WINDOW);
  readonly computeMs = new SampleWindow(LAP_WINDOW);
  readonly wireMs = new SampleWindow(LAP_WINDOW);
  lapsAsked = 0;
  lapsAnswered = 0;
  lapsFailed = 0;
  lateAnswers = 0;
  /** Rows answered for prompts, answers and drafts that were wrong alike, and rows × experts; rows of tests and in shadow are in neither. */
  rows = 0;
  assignments = 0;
  /** Laps in a row that missed their deadline, or that the peer could not do. */
  consecutiveFailures = 0;

  readonly #options: LapClientOptions;
  readonly #clock: Clock;
  readonly #rowFormat: RowFormat;
  readonly #pending = new Map<number, PendingLap>();
  /** With whom to count the bytes of an answer that comes late; the first only. */
  readonly #remembered = new Map<number, Meter | undefined>();
  readonly #history = new SecondMedians(HISTORY_S);
  readonly #standing: PeerStanding;
  #computeMs = 0;
  #nextLapId = randomInt(MAX_LAP_ID + 1);
  #lapsSent = 0;
  #closed: string | undefined;

  constructor(options: LapClientOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#rowFormat = options.rowFormat ?? 'f16';
    this.#standing = new PeerStanding(this.#clock, () => options.link.stats().bytesReceived);
  }

  get inFlight(): number {
    return this.#pending.size;
  }

  /** What a further lap is expected to take, for choosing among replicas. */
  get expected(): LapExpectation {
    return this.#standing.expected;
  }

  /** (row, expert) assignments a second that its backend was seen to compute while it had work; undefined while too little is known. */
  get assignmentsPerSecond(): number | undefined {
    if (this.lapsAnswered < MIN_LAPS_TO_RATE || this.#computeMs === 0) return undefined;
    return (this.assignments * 1000) / this.#computeMs;
  }

  /** Time that a lap of this many rows is given, from what this peer was seen to need. */
  deadlineMs(numRows: number): number {
    const p95 = this.lapMs.quantile(0.95);
    if (p95 === null) return FIRST_DEADLINE_MS;
    const scaled = this.#withRows(p95, numRows) * DEADLINE_FACTOR + (this.#options.link.stats().rttMs ?? 0);
    const leastMs = this.lapMs.length < MIN_SAMPLES ? MIN_DEADLINE_MS : MIN_KNOWN_DEADLINE_MS;
    return Math.min(MAX_DEADLINE_MS, Math.max(leastMs, scaled));
  }

  /**
   * When a lap of this many rows is late enough to ask a replica as well: the 95th percentile of what this peer needed, where
   * that is far from what it usually needs: on a steady line one lap in twenty is a little later than others, and its answer
   * comes before a replica's could. ∞ while too little is known.
   */
  hedgeAfterMs(numRows: number): number {
    if (this.lapMs.length < MIN_SAMPLES) return Number.POSITIVE_INFINITY;
    const late = Math.max(this.lapMs.quantile(0.95)!, WORTH_A_HEDGE * this.lapMs.quantile(0.5)!);
    return Math.max(MIN_HEDGE_MS, this.#withRows(late, numRows));
  }

  /**
   * What takes so long for few rows, for this many. Compute grows with rows, the round trip doesn't: a row more takes what one
   * took its backend on average, and at least a 64th of the lap, since its word is all that is known of its compute.
   */
  #withRows(lapMs: number, numRows: number): number {
    const rowMs = this.rows === 0 ? 0 : this.#computeMs / this.rows;
    return lapMs + numRows * Math.max(lapMs / 64, rowMs);
  }

  /** Median lap times of the last 60 s, one a second. */
  historyMs(): (number | null)[] {
    return this.#history.until(this.#clock.now());
  }

  /** Send one lap; rejects with a LapError when it is not answered in time, refused, or the link goes. */
  async ask(request: WorkItem, options: AskOptions = {}): Promise<LapAnswer> {
    return this.#ask(this.#newLapId(), request, options);
  }

  /** As `ask`, with a way to give it up: the tab is told, and the lap is no failure of the peer's. */
  attempt(request: WorkItem, options: AskOptions = {}): Attempt<LapAnswer> {
    const lapId = this.#newLapId();
    return { result: this.#ask(lapId, request, options), cancel: () => this.#cancel(lapId) };
  }

  #newLapId(): number {
    const lapId = this.#nextLapId;
    this.#nextLapId = lapId === MAX_LAP_ID ? 0 : lapId + 1;
    this.#lapsSent++;
    return lapId;
  }

  async #ask(lapId: number, request: WorkItem, options: AskOptions): Promise<LapAnswer> {
    if (this.#closed !== undefined) throw new LapError('closed', this.#closed);
    if (this.#pending.size >= MAX_LAPS_IN_FLIGHT)
      throw new LapError('busy', `${MAX_LAPS_IN_FLIGHT} laps are in flight`);
    const frame = encodeDispatch({
      ...request,
      lapId,
      epoch: this.#options.epoch(),
      hiddenSize: this.#options.hiddenSize,
      rowFormat: this.#rowFormat,
    });
    if (options.meter) {
      this.lapsAsked++;
      options.meter.frameBytes += frame.length;
    }
    const answer = this.#await(lapId, request, frame.length, options);
    this.#options.link.send(frame).catch((error: unknown) => {
      if (!(error instanceof TransportError)) throw error;
      this.#fail(lapId, new LapError(error.reason === 'closed' ? 'closed' : 'busy', error.message));
    });
    return answer;
  }

  /** Give every lap in flight up, and take no more. */
  close(reason: string): void {
    this.#closed ??= reason;
    for (const lapId of this.#pending.keys()) this.#fail(lapId, new LapError('closed', reason));
  }

  /** A frame came from the peer. Never throws. */
  receive(bytes: Uint8Array): void {
    if (this.#closed !== undefined) return;
    try {
      const { type, lapId } = peekFrame(bytes);
      if (type !== 'combine' && type !== 'refuse') throw new FrameError('bad-type', `A peer sends no ${type}.`);
      const pending = this.#pending.get(lapId);
      if (pending === undefined) {
        if (!this.#remembered.has(lapId))
          throw new FrameError('mismatch', `Lap ${lapId} was never asked of this peer.`);
        this.#late(lapId, bytes);
        return;
      }
      // A refusal's bytes count as an answer's do.
      if (pending.meter) pending.meter.frameBytes += bytes.length;
      if (type === 'refuse') this.#refused(lapId, decodeRefuse(bytes).reason);
      else this.#answered(lapId, pending, bytes);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.close(`the peer sent a frame that cannot be: ${error.message}`);
      this.#options.onHostile(error.message, error.reason);
    }
  }

  #await(lapId: number, request: WorkItem, sentBytes: number, options: AskOptions): Promise<LapAnswer> {
    const deadlineMs = options.deadlineMs ?? this.deadlineMs(request.numRows);
    return new Promise((resolve, reject) => {
      // Timers fire before sockets are read: an answer that came while this process was busy itself has not been seen yet.
      const missed = (): void => this.#missed(lapId, deadlineMs);
      const timer = this.#clock.setTimeout(() => this.#clock.setImmediate(missed), deadlineMs);
      const { layer, numRows } = request;
      const assignments = request.experts.length;
      this.#standing.asked(assignments);
      this.#pending.set(lapId, {
        request: { layer, numRows, assignments },
        sentMs: this.#clock.now(),
        resolve,
        reject,
        timer,
        meter: options.meter,
        sentBytes,
        onEnd: options.onEnd,
      });
    });
  }

  #missed(lapId: number, deadlineMs: number): void {
    if (!this.#pending.has(lapId)) return;
    this.consecutiveFailures++;
    this.#standing.fellSilent();
    this.#sendCancel(lapId, this.#pending.get(lapId)!.meter);
    this.#fail(lapId, new LapError('deadline', `no answer within ${Math.round(deadlineMs)} ms`));
  }

  #cancel(lapId: number): void {
    const pending = this.#pending.get(lapId);
    if (pending === undefined) return;
    this.#sendCancel(lapId, pending.meter);
    // It would have taken at least this long, which belongs to what is expected of the peer.
    if (pending.meter) this.lapMs.add(this.#clock.now() - pending.sentMs);
    // No failure of its own, but others are tried first for a while: it may have fallen silent.
    this.#standing.fellSilent();
    this.#settle(lapId, pending.meter);
    this.#tell(lapId, pending, { failure: 'cancelled' });
    pending.reject(new LapError('cancelled', 'someone else has answered the lap'));
  }

  /** Best effort: a tab that doesn't hear of it only works for nothing. */
  #sendCancel(lapId: number, meter: Meter | undefined): void {
    const frame = encodeCancel({ lapId });
    if (meter) meter.frameBytes += frame.length;
    this.#options.link.send(frame).catch(() => {});
  }

  #late(lapId: number, bytes: Uint8Array): void {
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
    const { numRows, assignments } = pending.request;
    const { hiddenSize } = this.#options;
    const frame = decodeCombine(bytes, { hiddenSize, numRows, rowFormat: this.#rowFormat });
    const lapMs = this.#clock.now() - pending.sentMs;
    // A tab's clock is its own word: what it claims beyond the lap itself is not believed.
    const computeMs = Math.min(frame.computeUs / 1000, lapMs);
    const queueMs = Math.min(frame.queueUs / 1000, lapMs - computeMs);
    this.#settle(lapId, undefined);
    this.consecutiveFailures = 0;
    this.#standing.recovered();
    if (pending.meter) {
      this.#record(lapMs, queueMs, computeMs);
      // One that was held up for long tells nothing of its size.
      this.#standing.answered(assignments, Math.min(lapMs, MAX_OUTLIER * this.lapMs.quantile(0.5)!), computeMs);
      this.lapsAnswered++;
      this.rows += numRows;
      this.assignments += assignments;
      this.#computeMs += computeMs;
    }
    this.#tell(lapId, pending, { receivedBytes: bytes.length, queueMs, computeMs });
    pending.resolve({ partial: frame.partial, timing: { lapMs, queueMs, computeMs, rows: numRows } });
  }

  #refused(lapId: number, reason: LapRefusal): void {
    this.#standing.spoke();
    if (!INNOCENT_REFUSALS.has(reason)) {
      this.consecutiveFailures++;
      this.#standing.failed();
    }
    this.#fail(lapId, new LapError('refused', `the peer refused the lap: ${reason}`, reason));
  }

  #fail(lapId: number, error: LapError): void {
    const pending = this.#pending.get(lapId);
    if (pending === undefined) return;
    this.#settle(lapId, error.reason === 'deadline' ? pending.meter : undefined);
    if (pending.meter) this.lapsFailed++;
    this.#tell(lapId, pending, { failure: error.reason });
    pending.reject(error);
  }

  #tell(
    lapId: number,
    { request: { layer, numRows }, sentMs, sentBytes, onEnd }: PendingLap,
    how: Partial<LapEvent>,
  ): void {
    if (!onEnd) return;
    const times = { startedMs: sentMs, endedMs: this.#clock.now(), queueMs: 0, computeMs: 0 };
    onEnd({ lapId, layer, rows: numRows, sentBytes, receivedBytes: 0, ...times, ...how });
  }

  #settle(lapId: number, meterOfLateAnswer: Meter | undefined): void {
    const { timer, request } = this.#pending.get(lapId)!;
    this.#clock.clear(timer);
    this.#standing.settled(request.assignments);
    this.#pending.delete(lapId);
    this.#remembered.set(lapId, meterOfLateAnswer);
    if (this.#remembered.size <= MAX_REMEMBERED_LAPS) return;
    const oldest = this.#remembered.keys().next();
    if (!oldest.done) this.#remembered.delete(oldest.value);
  }

  #record(lapMs: number, queueMs: number, computeMs: number): void {
    this.lapMs.add(lapMs);
    this.queueMs.add(queueMs);
    this.computeMs.add(computeMs);
    this.wireMs.add(lapMs - queueMs - computeMs);
    this.#history.add(this.#clock.now(), lapMs);
  }
}
