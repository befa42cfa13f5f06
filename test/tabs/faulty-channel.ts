import { carry, type DataChannelLike, perfectWire, type WireFaults } from '@shoal/transport';
import { CarriedChannel } from './carried-channel.ts';

/** A data channel behind a wire with adjustable faults, which apply to messages both ways. */
export class FaultyChannel extends CarriedChannel {
  readonly out: WireFaults = { ...perfectWire };
  readonly in: WireFaults = { ...perfectWire };
  readonly #random: () => number;

  constructor(channel: DataChannelLike, random: () => number) {
    super(channel);
    this.#random = random;
  }

  protected isPerfect(way: 'in' | 'out'): boolean {
    return Object.entries(perfectWire).every(([name, value]) => this[way][name as keyof WireFaults] === value);
  }

  protected carryOut(message: Uint8Array<ArrayBuffer>, arrive: (message: Uint8Array<ArrayBuffer>) => void): void {
    carry(message, this.out, this.#random, arrive);
  }

  protected carryIn(data: unknown, arrive: (data: unknown) => void): void {
    if (!(data instanceof ArrayBuffer)) return arrive(data);
    carry(new Uint8Array(data.slice()), this.in, this.#random, (message) => arrive(message.buffer));
  }
}
