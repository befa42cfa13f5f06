import { SampleWindow } from '../base/sample-window.ts';
import type { Sequence } from './sequence.ts';

/** What a person waits for: a place in the batch, the answer's first token, and from one token to the next. */
export const WAITS = ['queue', 'firstToken', 'betweenTokens'] as const;
export type Wait = (typeof WAITS)[number];

const RECENT = 512;

/**
 * How long requests wait, as seen where the engine hands tokens over: without detokenizer, HTTP and network. The first token
 * counts from the request's submission, queue included; the gap before a later one from that before it. Tokens of one pass
 * come at one moment and count as one, so that speculation doesn't hide the time in which nothing came.
 */
export class Latency {
  /** The last 512 of each, in milliseconds. */
  readonly recentMs: Readonly<Record<Wait, SampleWindow>> = {
    queue: new SampleWindow(RECENT),
    firstToken: new SampleWindow(RECENT),
    betweenTokens: new SampleWindow(RECENT),
  };
  /** Told of each as it ends. */
  onWait: (wait: Wait, ms: number) => void = () => {};

  /** It has a place in the batch. */
  admitted(sequence: Sequence, nowMs: number): void {
    this.#add('queue', nowMs - sequence.createdMs);
  }

  /** Tokens of one pass were handed over; `lastMs`: when those before them were, undefined for the first. */
  tokens(sequence: Sequence, nowMs: number, lastMs: number | undefined): void {
    if (lastMs === undefined) this.#add('firstToken', nowMs - sequence.createdMs);
    else this.#add('betweenTokens', nowMs - lastMs);
  }

  #add(wait: Wait, ms: number): void {
    this.recentMs[wait].add(ms);
    this.onWait(wait, ms);
  }
}
