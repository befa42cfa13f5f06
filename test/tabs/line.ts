import type { DataChannelLike } from '@shoal/transport';
import { SampleWindow } from '../../coordinator/src/base/sample-window.ts';
import type { Alarm } from './alarm.ts';
import { CarriedChannel } from './carried-channel.ts';

/** The network between a tab and the coordinator. */
export interface LineOptions {
  /** Added to the real round trip, half of it each way. */
  roundTripMs: number;
  /** Share of messages that lose a packet, which SCTP sends again after its shortest timeout. */
  loss: number;
}

export const SHORTEST_LINE: LineOptions = { roundTripMs: 0, loss: 0 };

/** Chrome's SCTP never resends sooner, whatever the round trip (RFC 9260's RTO.Min, as implementations set it). */
export const RETRANSMISSION_MS = 400;
const HELD_SAMPLES = 4096;

/** Milliseconds that messages were actually held each way. */
export interface HeldMs {
  in: { p50: number; p95: number };
  out: { p50: number; p95: number };
}

/** Delays messages of any number of channels, to a tenth of a millisecond. Losses delay, as on a reliable channel. */
export class Line {
  options: LineOptions = SHORTEST_LINE;
  readonly #alarm: Pick<Alarm, 'at'>;
  readonly #random: () => number;
  readonly #held = { in: new SampleWindow(HELD_SAMPLES), out: new SampleWindow(HELD_SAMPLES) };

  constructor(alarm: Pick<Alarm, 'at'>, random: () => number) {
    this.#alarm = alarm;
    this.#random = random;
  }

  get isPerfect(): boolean {
    return this.options.roundTripMs === 0 && this.options.loss === 0;
  }

  set(options: LineOptions): void {
    this.options = options;
    for (const window of Object.values(this.#held)) window.clear();
  }

  held(): HeldMs {
    const of = (window: SampleWindow) => ({ p50: window.quantile(0.5) ?? 0, p95: window.quantile(0.95) ?? 0 });
    return { in: of(this.#held.in), out: of(this.#held.out) };
  }

  carry(way: 'in' | 'out', arrive: () => void): void {
    const { roundTripMs, loss } = this.options;
    const sentMs = performance.now();
    const resentMs = loss > 0 && this.#random() < loss ? RETRANSMISSION_MS : 0;
    this.#alarm.at(sentMs + roundTripMs / 2 + resentMs, () => {
      this.#held[way].add(performance.now() - sentMs);
      arrive();
    });
  }
}

/** A data channel at the far end of a line. */
export class LineChannel extends CarriedChannel {
  readonly #line: Line;

  constructor(channel: DataChannelLike, line: Line) {
    super(channel);
    this.#line = line;
  }

  protected isPerfect(): boolean {
    return this.#line.isPerfect;
  }

  protected carryOut(message: Uint8Array<ArrayBuffer>, arrive: (message: Uint8Array<ArrayBuffer>) => void): void {
    this.#line.carry('out', () => arrive(message));
  }

  protected carryIn(data: unknown, arrive: (data: unknown) => void): void {
    this.#line.carry('in', () => arrive(data));
  }
}
