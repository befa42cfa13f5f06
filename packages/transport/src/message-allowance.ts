import { MAX_LAP_CONNECTIONS, MIN_FRAGMENT_PAYLOAD_BYTES } from '@shoal/protocol';
import { Rate } from './rate.ts';

/** Pings and pongs of one heartbeat: each channel's own, and answers to ours, twice. */
const SIGNALS_PER_HEARTBEAT = 4 * MAX_LAP_CONNECTIONS;
/** What a minute of heartbeats leaves behind while this process is blocked. */
const BURST_SIGNALS = 256;

/** Messages that need no reason: parts of frames that were lost, and answers that come when nobody expects them any more. */
const SPARE_PER_MS = 64 / 1000;
const SPARE_MESSAGES = 512;
/** A wire may deliver a message twice. */
const COPIES = 2;
/** Answers of this many largest frames may be under way. */
const LARGEST_FRAMES_AHEAD = 2;
/** What nobody has answered in this time counts half. Well beyond the deadline of most laps. */
const HALF_LIFE_MS = 10_000;

/**
 * How many messages the other side may send, if it only answers. Parts of frames that are not whole yet may be as many as the
 * answers that it owes have parts at the least size. A whole frame that answers makes good for its parts and their copies.
 * What it doesn't owe, and parts of frames that never end, have only little to spare; pings and pongs have a rate of their own.
 */
export class MessageAllowance {
  readonly #most: number;
  readonly #signals: Rate;
  readonly #halfLifeTicks: number;
  /** Most messages of the answers that are owed. */
  #owed = 0;
  /** Negative: parts of frames that are not whole yet. */
  #spare = SPARE_MESSAGES;
  #atMs: number;

  /** @param maxFrameBytes largest frame that the other side may send */
  constructor(maxFrameBytes: number, heartbeatMs: number, nowMs: number) {
    this.#most = LARGEST_FRAMES_AHEAD * answersTo(maxFrameBytes);
    this.#signals = new Rate(BURST_SIGNALS, SIGNALS_PER_HEARTBEAT / heartbeatMs, nowMs);
    this.#halfLifeTicks = HALF_LIFE_MS / heartbeatMs;
    this.#atMs = nowMs;
  }

  /** A frame of this many bytes was sent, which may be answered. */
  sent(frameBytes: number): void {
    this.#owed += answersTo(frameBytes);
  }

  /** To be called at each heartbeat. Ticks are counted, not time: what came while this process was blocked is still owed. */
  tick(): void {
    this.#owed *= 0.5 ** (1 / this.#halfLifeTicks);
  }

  /** Counts a ping or pong. False if it was one too many. */
  takeSignal(nowMs: number): boolean {
    return this.#signals.take(nowMs);
  }

  /** Counts a frame or a part of one. False if it was one too many. */
  take(nowMs: number): boolean {
    this.#spare = Math.min(SPARE_MESSAGES, this.#spare + (nowMs - this.#atMs) * SPARE_PER_MS) - 1;
    this.#atMs = nowMs;
    return this.#spare >= -Math.min(this.#owed, this.#most);
  }

  /** A frame of this many bytes has arrived whole, in `messages` parts. */
  received(frameBytes: number, messages: number): void {
    const answered = Math.min(this.#owed, answersTo(frameBytes));
    this.#owed -= answered;
    this.#spare = Math.min(SPARE_MESSAGES, this.#spare + Math.min(answered, COPIES * messages));
  }
}

/** Most messages of an answer, which is no longer than what it answers. */
function answersTo(frameBytes: number): number {
  return COPIES * (1 + Math.ceil(frameBytes / MIN_FRAGMENT_PAYLOAD_BYTES));
}
