import { EventEmitter } from 'node:events';
import { SampleWindow } from '../base/sample-window.ts';
import type { Sequence } from './sequence.ts';

/** What a person waits for: a place in the batch, the first token of the answer, and each further token. */
export const WAITS = ['queue', 'firstToken', 'betweenTokens'] as const;
export type Wait = (typeof WAITS)[number];

/** Waits of each kind that the quantiles are taken over. */
const RECENT = 512;

/**
 * How long requests wait, measured where the scheduler hands tokens over: detokenizer, HTTP and network are not included. The
 * first token counts from the submission of the request, time in the queue included; a later one from the one before it. Tokens
 * of one pass arrive together and count as one, so that speculation doesn't hide the time in which nothing arrives.
 */
export class Latency {
  /** Emits `wait` with the kind and the milliseconds of every wait as it ends. */
  readonly events = new EventEmitter<{ wait: [wait: Wait, ms: number] }>();
  /** The last 512 waits of each kind, in milliseconds. */
  readonly recentMs: Readonly<Record<Wait, SampleWindow>> = {
    queue: new SampleWindow(RECENT),
    firstToken: new SampleWindow(RECENT),
    betweenTokens: new SampleWindow(RECENT),
  };

  /** Records that a sequence has been admitted. */
  admitted(sequence: Sequence, nowMs: number): void {
    this.#add('queue', nowMs - sequence.createdMs);
  }

  /** Records that tokens of one pass were handed over; `lastMs` is when those before them were, undefined for the first. */
  tokens(sequence: Sequence, nowMs: number, lastMs: number | undefined): void {
    if (lastMs === undefined) this.#add('firstToken', nowMs - sequence.createdMs);
    else this.#add('betweenTokens', nowMs - lastMs);
  }

  #add(wait: Wait, ms: number): void {
    this.recentMs[wait].add(ms);
    this.events.emit('wait', wait, ms);
  }
}
