import type { DataChannelLike } from '@shoal/transport';
import { CarriedChannel } from '../../tabs/carried-channel.ts';

/** What a UDP packet of at most 1,200 bytes carries beside a message: IP, UDP, DTLS and SCTP headers. */
const PACKET_BYTES = 1_200;
const HEADER_BYTES = 20 + 8 + 37 + 28;

/** One way of a line of a stated rate: messages leave one after another. */
class Way {
  queuedBytes = 0;
  readonly #bytesPerMs: number;
  #freeMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  carry(bytes: number, arrive: () => void): void {
    const onWire = bytes + Math.ceil(bytes / PACKET_BYTES) * HEADER_BYTES;
    const nowMs = performance.now();
    this.#freeMs = Math.max(this.#freeMs, nowMs) + onWire / this.#bytesPerMs;
    this.queuedBytes += bytes;
    setTimeout(() => {
      this.queuedBytes -= bytes;
      arrive();
    }, this.#freeMs - nowMs);
  }
}

/** The line of one coordinator, which all of its channels share, each way at the same rate. */
export class RatedLine {
  readonly in: Way;
  readonly out: Way;

  constructor(bytesPerSecond: number) {
    this.in = new Way(bytesPerSecond);
    this.out = new Way(bytesPerSecond);
  }
}

/** A coordinator's end of a channel, behind its line. */
export class RatedChannel extends CarriedChannel {
  readonly #line: RatedLine;
  /** Of this channel, on the line. */
  #waitingBytes = 0;
  readonly #onRoom = new Set<() => void>();

  constructor(channel: DataChannelLike, line: RatedLine) {
    super(channel);
    this.#line = line;
    const add = this.addEventListener;
    this.addEventListener = (type, listener) => {
      if (type === 'bufferedamountlow') this.#onRoom.add(listener as () => void);
      add(type as 'open', listener as () => void);
    };
  }

  /** What waits for the line counts as buffered, so that senders wait for it as for the wire. */
  override get bufferedAmount(): number {
    return super.bufferedAmount + this.#waitingBytes;
  }

  protected isPerfect(): boolean {
    return false;
  }

  protected carryOut(message: Uint8Array<ArrayBuffer>, arrive: (message: Uint8Array<ArrayBuffer>) => void): void {
    this.#waitingBytes += message.byteLength;
    this.#line.out.carry(message.byteLength, () => {
      this.#waitingBytes -= message.byteLength;
      arrive(message);
      if (this.#waitingBytes <= (this.bufferedAmountLowThreshold ?? 0)) for (const tell of this.#onRoom) tell();
    });
  }

  protected carryIn(data: unknown, arrive: (data: unknown) => void): void {
    this.#line.in.carry((data as ArrayBuffer).byteLength, () => arrive(data));
  }
}
