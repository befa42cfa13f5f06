import { MAX_MESSAGE_BYTES } from '@shoal/protocol';
import type { DataChannelLike } from './channel.ts';
import { FramedChannel, type FramedChannelOptions } from './framed-channel.ts';
import { after, carry, perfectWire, seededRandom, type WireFaults } from './wire-faults.ts';

/**
 * `abrupt`: both ends see an error and then a close, as after a crash that the network noticed. `black-hole`: everything is
 * silently dropped from now on. `polite`: end `a` closes.
 */
export type MemoryDeath = 'abrupt' | 'black-hole' | 'polite';

export interface MemoryWireOptions {
  /** The same seed and order of sends give the same faults. */
  seed?: number;
  aToB?: Partial<WireFaults>;
  bToA?: Partial<WireFaults>;
  /** False leaves out the low-water event, as @roamhq/wrtc does. */
  hasLowEvent?: boolean;
}

/** Two connected channels in one process, with faults that a test can set. */
export interface MemoryChannelPair {
  a: MemoryChannel;
  b: MemoryChannel;
  aToB: WireFaults;
  bToA: WireFaults;
  die(how: MemoryDeath): void;
}

export function memoryChannelPair(options: MemoryWireOptions = {}): MemoryChannelPair {
  const random = seededRandom(options.seed ?? 1);
  const aToB = { ...perfectWire, ...options.aToB };
  const bToA = { ...perfectWire, ...options.bToA };
  const a = new MemoryChannel(aToB, random, options.hasLowEvent ?? true);
  const b = new MemoryChannel(bToA, random, options.hasLowEvent ?? true);
  a.connect(b);
  b.connect(a);
  const die = (how: MemoryDeath): void => {
    if (how === 'polite') a.close();
    else for (const channel of [a, b]) channel.die(how);
  };
  return { a, b, aToB, bToA, die };
}

export interface MemoryLinkOptions extends MemoryWireOptions {
  aLink?: FramedChannelOptions;
  bLink?: FramedChannelOptions;
  /** Channels of the link, 1 by default; each has its own wire with the same faults. */
  channels?: number;
}

/** Channel pairs with a FramedChannel on both ends: the code that runs over WebRTC, without WebRTC. `wire` is `wires[0]`. */
export function memoryLinkPair(options: MemoryLinkOptions = {}): {
  a: FramedChannel;
  b: FramedChannel;
  wire: MemoryChannelPair;
  wires: MemoryChannelPair[];
} {
  const { aLink = {}, bLink = {}, channels = 1, seed = 1 } = options;
  const wires = Array.from({ length: channels }, (_, i) => memoryChannelPair({ ...options, seed: seed + i }));
  const [wire, ...further] = wires;
  const a = new FramedChannel(wire!.a, aLink);
  const b = new FramedChannel(wire!.b, bLink);
  for (const each of further) {
    a.addChannel(each.a);
    b.addChannel(each.b);
  }
  return { a, b, wire: wire!, wires };
}

/** One end of a pair. As with RTCDataChannel, messages may arrive in another order, and a lost one is not reported. */
export class MemoryChannel implements DataChannelLike {
  binaryType = 'arraybuffer';
  bufferedAmountLowThreshold?: number | undefined;
  #readyState: DataChannelLike['readyState'] = 'open';
  #bufferedAmount = 0;
  #events = new EventTarget();
  #wire: WireFaults;
  #random: () => number;
  #other: MemoryChannel | undefined;
  #isBlackHole = false;
  /** When the last message will have been sent, on a wire with a limited rate. */
  #busyUntilMs = 0;

  constructor(wire: WireFaults, random: () => number, hasLowEvent: boolean) {
    this.#wire = wire;
    this.#random = random;
    if (hasLowEvent) this.bufferedAmountLowThreshold = 0;
  }

  get readyState(): DataChannelLike['readyState'] {
    return this.#readyState;
  }

  get bufferedAmount(): number {
    return this.#bufferedAmount;
  }

  addEventListener: DataChannelLike['addEventListener'] = (type, listener) => {
    this.#events.addEventListener(type, listener as unknown as EventListener);
  };

  removeEventListener: DataChannelLike['removeEventListener'] = (type, listener) => {
    this.#events.removeEventListener(type, listener as unknown as EventListener);
  };

  connect(other: MemoryChannel): void {
    this.#other = other;
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    if (this.#readyState !== 'open') throw new DOMException('The channel is not open.', 'InvalidStateError');
    if (data.byteLength > MAX_MEMORY_MESSAGE_BYTES) throw new TypeError('The message is too large for this channel.');
    const message = data.slice();
    this.#bufferedAmount += message.byteLength;
    const nowMs = performance.now();
    this.#busyUntilMs = Math.max(nowMs, this.#busyUntilMs) + (message.byteLength / this.#wire.bytesPerSecond) * 1000;
    after(this.#busyUntilMs - nowMs, () => this.#transmit(message));
  }

  /** Sends what is buffered, as RTCDataChannel does, before the other end sees the close. */
  close(): void {
    if (this.#readyState !== 'open') return;
    this.#readyState = 'closing';
    const flushedMs = Math.max(0, this.#busyUntilMs - performance.now());
    after(flushedMs, () => {
      after(this.#wire.delayMs, () => {
        if (!this.#isBlackHole) this.#other?.closedByOther();
        this.#end();
      });
    });
  }

  receive(data: ArrayBuffer): void {
    this.#events.dispatchEvent(new MessageEvent('message', { data }));
  }

  closedByOther(): void {
    if (this.#readyState === 'open') this.#end();
  }

  die(how: 'abrupt' | 'black-hole'): void {
    this.#isBlackHole = true;
    if (how === 'black-hole' || this.#readyState === 'closed') return;
    this.#readyState = 'closed';
    after(0, () => {
      this.#events.dispatchEvent(new Event('error'));
      this.#events.dispatchEvent(new Event('close'));
    });
  }

  #end(): void {
    this.#readyState = 'closed';
    this.#events.dispatchEvent(new Event('close'));
  }

  #transmit(message: Uint8Array<ArrayBuffer>): void {
    const before = this.#bufferedAmount;
    this.#bufferedAmount -= message.byteLength;
    const threshold = this.bufferedAmountLowThreshold;
    if (this.#readyState === 'open' && threshold !== undefined && before > threshold) {
      if (this.#bufferedAmount <= threshold) this.#events.dispatchEvent(new Event('bufferedamountlow'));
    }
    if (!this.#isBlackHole) carry(message, this.#wire, this.#random, (copy) => this.#arrive(copy));
  }

  #arrive(message: Uint8Array<ArrayBuffer>): void {
    if (this.#isBlackHole || this.#other?.readyState !== 'open') return;
    this.#other.receive(message.buffer);
  }
}

/** WebRTC in Node rejects messages over 256 KiB; ours never exceed MAX_MESSAGE_BYTES, but a stranger's may. */
const MAX_MEMORY_MESSAGE_BYTES = 16 * MAX_MESSAGE_BYTES;
