import type { DataChannelLike } from './channel.ts';
import { Lane, type LaneListeners } from './data-channel.ts';

/**
 * What a browser lets wait in the main channel's buffer before it uses others: dcSCTP begins a burst with every message, so that one
 * connection with a grown window sends 64 KiB at once, while the windows of several that share the work stay small (docs/adr/0017).
 */
export const BROWSER_SPREAD_ABOVE_BYTES = 64 * 1024;

/**
 * The channels of a link. The main one, with which it begins and ends, carries whatever is one message; fragments are spread over
 * all that are open, since each has a burst and a congestion window of its own.
 */
export class Lanes {
  readonly main: Lane;
  readonly #listeners: LaneListeners;
  readonly #spreadAboveBytes: number;
  #all: Lane[];
  #turn = 0;

  constructor(main: DataChannelLike, listeners: LaneListeners, spreadAboveBytes: number) {
    this.#listeners = listeners;
    this.#spreadAboveBytes = spreadAboveBytes;
    this.main = new Lane(main, listeners);
    this.#all = [this.main];
  }

  get all(): readonly Lane[] {
    return this.#all;
  }

  add(channel: DataChannelLike): void {
    this.#all.push(new Lane(channel, this.#listeners));
  }

  /** One that is not the main one is done without. */
  drop(lane: Lane): void {
    this.#all = this.#all.filter((each) => each !== lane);
    lane.close();
  }

  /** For a message that is a whole frame: the main lane, unless it is full and another is not. */
  forWhole(): Lane | undefined {
    return this.main.hasRoom ? this.main : this.forFragment();
  }

  /**
   * For a fragment: the main lane while less than `spreadAboveBytes` waits in its buffer, then the one in whose buffer least waits,
   * and of equal ones the next in turn. One on which the other side has not answered for a while may have lost its path, and is
   * left out.
   */
  forFragment(): Lane | undefined {
    if (this.main.hasRoom && this.main.bufferedBytes < this.#spreadAboveBytes) return this.main;
    const lanes = this.#all;
    let best: number | undefined;
    let leastBytes = Number.POSITIVE_INFINITY;
    for (let i = 0; i < lanes.length; i++) {
      const at = (this.#turn + i) % lanes.length;
      const lane = lanes[at]!;
      if (!lane.hasRoom || (lane.heartbeat.isSilent && lane !== this.main) || lane.bufferedBytes >= leastBytes)
        continue;
      best = at;
      leastBytes = lane.bufferedBytes;
    }
    if (best === undefined) return undefined;
    this.#turn = (best + 1) % lanes.length;
    return lanes[best];
  }
}
