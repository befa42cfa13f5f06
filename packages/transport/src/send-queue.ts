import { MAX_FRAME_BYTES } from '@shoal/protocol';
import { fragmentCount, MAX_FRAGMENT_PAYLOAD_BYTES, MAX_WHOLE_FRAME_BYTES } from './fragment.ts';
import { TransportError } from './errors.ts';

/** Four of the largest frames. Whoever awaits `send` never comes near it; whoever does not is told, instead of filling memory. */
export const MAX_QUEUED_BYTES = 4 * MAX_FRAME_BYTES;
export const MAX_QUEUED_FRAMES = 4096;
/**
 * Frames whose fragments take turns, so that a decode row does not wait behind a whole prefill chunk: the first few, as long as
 * together they are little more than one of the largest, since the receiver must hold them all until they are complete.
 */
export const MAX_FRAMES_IN_TURN = 8;
export const MAX_BYTES_IN_TURN = MAX_FRAME_BYTES + 1024 * 1024;

/** A frame on its way. */
export interface Outgoing {
  readonly frame: Uint8Array;
  readonly frameId: number;
  /** Messages that it takes; one is a whole frame. */
  readonly count: number;
  /** Of each of its fragments but the last. */
  readonly payloadBytes: number;
}

interface Queued extends Outgoing {
  next: number;
  resolve: () => void;
  reject: (error: TransportError) => void;
}

/** Frames waiting for the wire, cut into messages in turns. */
export class SendQueue {
  #waiting: Queued[] = [];
  #bytes = 0;
  #turn = 0;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Resolves when the last message has been taken and sent. */
  add(frame: Uint8Array, frameId: number): Promise<void> {
    if (this.#waiting.length >= MAX_QUEUED_FRAMES || this.#bytes + frame.byteLength > MAX_QUEUED_BYTES) {
      const message = `${this.#waiting.length} frames (${this.#bytes} B) are waiting already: await send() before the next.`;
      return Promise.reject(new TransportError('queue-full', message));
    }
    this.#bytes += frame.byteLength;
    return new Promise((resolve, reject) => {
      const payloadBytes = MAX_FRAGMENT_PAYLOAD_BYTES;
      const isWhole = frame.byteLength <= MAX_WHOLE_FRAME_BYTES;
      const count = isWhole ? 1 : fragmentCount(frame.byteLength, payloadBytes);
      this.#waiting.push({ frame, frameId, count, payloadBytes, next: 0, resolve, reject });
    });
  }

  /** Hands the next message to `send`. A frame leaves the queue with its last one; returns whether that happened. */
  sendNext(send: (outgoing: Outgoing, index: number) => void): boolean {
    this.#turn %= this.#framesInTurn();
    const queued = this.#waiting[this.#turn]!;
    send(queued, queued.next);
    queued.next++;
    if (queued.next < queued.count) {
      this.#turn++;
      return false;
    }
    this.#waiting.splice(this.#turn, 1);
    this.#bytes -= queued.frame.byteLength;
    queued.resolve();
    return true;
  }

  #framesInTurn(): number {
    let bytes = 0;
    const firsts = this.#waiting.slice(0, MAX_FRAMES_IN_TURN);
    const beyond = firsts.findIndex(({ frame }) => (bytes += frame.byteLength) > MAX_BYTES_IN_TURN);
    // A frame in turn stays so until it has left: those before it only become fewer.
    return beyond === -1 ? firsts.length : beyond;
  }

  rejectAll(error: TransportError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    for (const queued of waiting) queued.reject(error);
  }
}
