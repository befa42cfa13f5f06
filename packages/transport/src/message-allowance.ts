import { MIN_FRAGMENT_PAYLOAD_BYTES } from '@shoal/protocol';

/** Messages that need no reason: heartbeats, answers to frames that were lost. */
const MESSAGES_PER_MS = 64 / 1000;
const BURST_MESSAGES = 512;
/** A wire may deliver a message twice. */
const COPIES = 2;
/** Answers of this many largest frames may be on their way. */
const LARGEST_FRAMES_AHEAD = 8;

/**
 * How many messages the other side may send. One that only answers has a reason for as many as the frames sent to it have parts
 * at the least size; pings, answers to nothing and parts of frames that never end have none.
 */
export class MessageAllowance {
  readonly #most: number;
  #left = BURST_MESSAGES;
  #atMs: number;

  /** @param maxFrameBytes largest frame that the other side may send */
  constructor(maxFrameBytes: number, nowMs: number) {
    this.#most = BURST_MESSAGES + LARGEST_FRAMES_AHEAD * answersTo(maxFrameBytes);
    this.#atMs = nowMs;
  }

  /** A frame of this many bytes was sent, which may be answered. */
  sent(frameBytes: number): void {
    this.#left = Math.min(this.#most, this.#left + answersTo(frameBytes));
  }

  /** Counts a message. False if it was one too many. */
  take(nowMs: number): boolean {
    if (this.#left < BURST_MESSAGES) {
      this.#left = Math.min(BURST_MESSAGES, this.#left + (nowMs - this.#atMs) * MESSAGES_PER_MS);
    }
    this.#atMs = nowMs;
    this.#left--;
    return this.#left >= 0;
  }
}

/** Most messages of an answer, which is no longer than what it answers. */
function answersTo(frameBytes: number): number {
  return COPIES * (1 + Math.ceil(frameBytes / MIN_FRAGMENT_PAYLOAD_BYTES));
}
