import type { DataChannelLike } from './channel.ts';
import { LinkChannel, type LinkChannelListeners } from './link-channel.ts';

/**
 * How much a browser lets wait in the main channel's buffer before it uses others. dcSCTP starts a burst with every message, so
 * one connection with a grown window sends 64 KiB at once, while the windows of several that share the work stay small
 * (docs/adr/0017).
 */
export const BROWSER_SPREAD_ABOVE_BYTES = 64 * 1024;

/**
 * All channels of a link. The link lives as long as its main channel, which carries every frame that is one message; fragments
 * are spread over all open channels, since each has its own burst and congestion window.
 */
export class LinkChannels {
  readonly main: LinkChannel;
  readonly #listeners: LinkChannelListeners;
  readonly #spreadAboveBytes: number;
  #all: LinkChannel[];
  #turn = 0;

  constructor(main: DataChannelLike, listeners: LinkChannelListeners, spreadAboveBytes: number) {
    this.#listeners = listeners;
    this.#spreadAboveBytes = spreadAboveBytes;
    this.main = new LinkChannel(main, listeners);
    this.#all = [this.main];
  }

  get all(): readonly LinkChannel[] {
    return this.#all;
  }

  add(dataChannel: DataChannelLike): void {
    this.#all.push(new LinkChannel(dataChannel, this.#listeners));
  }

  /** Removes and closes a channel other than the main one. */
  drop(channel: LinkChannel): void {
    this.#all = this.#all.filter((each) => each !== channel);
    channel.close();
  }

  /** The channel for a whole frame: the main one, unless it is full and another is not. */
  forWhole(): LinkChannel | undefined {
    return this.main.hasRoom ? this.main : this.forFragment();
  }

  /**
   * The channel for a fragment: the main one while less than `spreadAboveBytes` waits in its buffer, then the one with the least
   * in its buffer, ties in turn. Skips an added channel whose heartbeat has gone unanswered, since its path may be down.
   */
  forFragment(): LinkChannel | undefined {
    if (this.main.hasRoom && this.main.bufferedBytes < this.#spreadAboveBytes) return this.main;
    const channels = this.#all;
    let best: number | undefined;
    let leastBytes = Number.POSITIVE_INFINITY;
    for (let i = 0; i < channels.length; i++) {
      const at = (this.#turn + i) % channels.length;
      const channel = channels[at]!;
      const isSilent = channel.heartbeat.isSilent && channel !== this.main;
      if (!channel.hasRoom || isSilent || channel.bufferedBytes >= leastBytes) continue;
      best = at;
      leastBytes = channel.bufferedBytes;
    }
    if (best === undefined) return undefined;
    this.#turn = (best + 1) % channels.length;
    return channels[best];
  }
}
