import { carry, type DataChannelLike, perfectWire, type WireFaults } from '@shoal/transport';

type Listener = Parameters<DataChannelLike['addEventListener']>[1];

/** A data channel behind a wire that can be made worse: what leaves and what arrives passes through its faults. */
export class FaultyChannel implements DataChannelLike {
  readonly out: WireFaults = { ...perfectWire };
  readonly in: WireFaults = { ...perfectWire };
  readonly #channel: DataChannelLike;
  readonly #random: () => number;
  readonly #wrapped = new Map<Listener, Listener>();

  constructor(channel: DataChannelLike, random: () => number) {
    this.#channel = channel;
    this.#random = random;
  }

  get readyState(): DataChannelLike['readyState'] {
    return this.#channel.readyState;
  }

  get bufferedAmount(): number {
    return this.#channel.bufferedAmount;
  }

  get bufferedAmountLowThreshold(): number | undefined {
    return this.#channel.bufferedAmountLowThreshold;
  }
  set bufferedAmountLowThreshold(bytes: number | undefined) {
    this.#channel.bufferedAmountLowThreshold = bytes;
  }

  get binaryType(): string {
    return this.#channel.binaryType;
  }
  set binaryType(type: string) {
    this.#channel.binaryType = type;
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    if (isPerfect(this.out)) return this.#channel.send(data);
    carry(data.slice(), this.out, this.#random, (message) => {
      // Under way while the channel closed: lost with it.
      if (this.#channel.readyState === 'open') this.#channel.send(message);
    });
  }

  close(): void {
    this.#channel.close();
  }

  addEventListener: DataChannelLike['addEventListener'] = (type, listener) => {
    const wrapped = type === 'message' ? this.#passIn(listener as (event: { data: unknown }) => void) : listener;
    this.#wrapped.set(listener, wrapped);
    this.#channel.addEventListener(type, wrapped as typeof listener);
  };

  removeEventListener: DataChannelLike['removeEventListener'] = (type, listener) => {
    this.#channel.removeEventListener(type, (this.#wrapped.get(listener) ?? listener) as typeof listener);
    this.#wrapped.delete(listener);
  };

  #passIn(listener: (event: { data: unknown }) => void): Listener {
    return ((event: { data: unknown }) => {
      const { data } = event;
      if (isPerfect(this.in) || !(data instanceof ArrayBuffer)) return listener(event);
      carry(new Uint8Array(data.slice()), this.in, this.#random, (message) => listener({ data: message.buffer }));
    }) as Listener;
  }
}

/** Then nothing is copied and nothing waits for another turn of the event loop. */
function isPerfect(wire: WireFaults): boolean {
  return Object.entries(perfectWire).every(([name, value]) => wire[name as keyof WireFaults] === value);
}
