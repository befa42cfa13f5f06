import type { DataChannelLike } from '@shoal/transport';

type Listener = Parameters<DataChannelLike['addEventListener']>[1];

/** A data channel whose messages pass through a carrier, which decides if, when and how each arrives. */
export abstract class CarriedChannel implements DataChannelLike {
  readonly #channel: DataChannelLike;
  readonly #wrapped = new Map<Listener, Listener>();

  constructor(channel: DataChannelLike) {
    this.#channel = channel;
  }

  /** Whether messages pass at once, without a copy and without another turn of the event loop. */
  protected abstract isPerfect(way: 'in' | 'out'): boolean;

  /** `message` belongs to the carrier. */
  protected abstract carryOut(
    message: Uint8Array<ArrayBuffer>,
    arrive: (message: Uint8Array<ArrayBuffer>) => void,
  ): void;

  protected abstract carryIn(data: unknown, arrive: (data: unknown) => void): void;

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
    if (this.isPerfect('out')) return this.#channel.send(data);
    // A copy, because the caller may reuse its buffer.
    this.carryOut(data.slice(), (message) => {
      // A message under way when the channel closes is lost.
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
      if (this.isPerfect('in')) return listener(event);
      this.carryIn(event.data, (data) => listener({ data }));
    }) as Listener;
  }
}
