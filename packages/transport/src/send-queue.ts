import { MAX_FRAME_BYTES } from '@shoal/protocol';
import { type Cut, cutOf } from './cut.ts';
import { TransportError } from './errors.ts';

/** Four of the largest frames. A caller that awaits `send` never comes near it; one that does not gets an error. */
export const MAX_QUEUED_BYTES = 4 * MAX_FRAME_BYTES;
export const MAX_QUEUED_FRAMES = 4096;
/**
 * Frames whose fragments take turns, so that a decode row does not wait behind a whole prefill chunk: the first few, up to little
 * more than one of the largest in all, since the receiver must hold them until they are complete.
 */
export const MAX_FRAMES_IN_TURN = 8;
export const MAX_BYTES_IN_TURN = MAX_FRAME_BYTES + 1024 * 1024;

/** A frame being sent. */
export interface Outgoing extends Readonly<Cut> {
  readonly frame: Uint8Array;
  readonly frameId: number;
}

interface Queued extends Outgoing {
  next: number;
  resolve: () => void;
  reject: (error: TransportError) => void;
}

/** Frames waiting to be sent, cut into messages that take turns. */
export class SendQueue {
  #waiting: Queued[] = [];
  #bytes = 0;
  #turn = 0;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Queues a frame; resolves when its last message has been sent. */
  add(frame: Uint8Array, frameId: number): Promise<void> {
    if (this.#waiting.length >= MAX_QUEUED_FRAMES || this.#bytes + frame.byteLength > MAX_QUEUED_BYTES) {
      const message = `${this.#waiting.length} frames (${this.#bytes} B) are already queued: await send() before the next.`;
      return Promise.reject(new TransportError('queue-full', message));
    }
    this.#bytes += frame.byteLength;
    return new Promise((resolve, reject) => {
      this.#waiting.push({ frame, frameId, ...cutOf(frame.byteLength), next: 0, resolve, reject });
    });
  }

  /** Passes the next message to `send`, which returns whether it took it. A frame leaves the queue with its last message. */
  sendNext(send: (outgoing: Outgoing, index: number) => boolean): 'frame-sent' | 'message-sent' | 'blocked' {
    this.#turn %= this.#framesInTurn();
    const queued = this.#waiting[this.#turn]!;
    if (!send(queued, queued.next)) return 'blocked';
    queued.next++;
    if (queued.next < queued.count) {
      this.#turn++;
      return 'message-sent';
    }
    this.#waiting.splice(this.#turn, 1);
    this.#bytes -= queued.frame.byteLength;
    queued.resolve();
    return 'frame-sent';
  }

  #framesInTurn(): number {
    let bytes = 0;
    const firsts = this.#waiting.slice(0, MAX_FRAMES_IN_TURN);
    const beyond = firsts.findIndex(({ frame }) => (bytes += frame.byteLength) > MAX_BYTES_IN_TURN);
    // The frames ahead of one only become fewer, so it keeps its turn until it has been sent.
    return beyond === -1 ? firsts.length : beyond;
  }

  rejectAll(error: TransportError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    for (const queued of waiting) queued.reject(error);
  }
}
