import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import { addWait } from '../base/wait-histogram.ts';
import { emptySample, type Sample } from './sample.ts';

/** What only grows, since the start. */
export interface Counters {
  tokens: number;
  laps: number;
  bytes: number;
  work: number;
  fallback: number;
  errors: number;
  refused: number;
}

/** What is at the moment. */
export interface Levels {
  streams: number;
  queued: number;
  tabs: number;
  experts: number;
  covered: number;
}

const LOOK_MS = 5_000;
const MINUTE_MS = 60_000;
/** A process that was asleep or blocked for longer did not measure meanwhile. */
const MAX_SPAN_MS = 30_000;

export interface SamplerOptions {
  counters: () => Counters;
  levels: () => Levels;
  /** Takes the sample of a minute, or of the part of one that was measured. */
  take: (atMs: number, sample: Sample) => void;
  clock?: Clock;
  /** Epoch milliseconds, by which minutes begin. */
  epochNow?: () => number;
}

/** Measures every few seconds, and hands over a sample for each minute of the clock. */
export class Sampler {
  readonly #options: Required<SamplerOptions>;
  readonly #timer: Timer;
  #sample = emptySample();
  #minute: number;
  #counted: Counters;
  #lookedMs: number;

  constructor(options: SamplerOptions) {
    this.#options = { clock: systemClock, epochNow: Date.now, ...options };
    const { clock, epochNow, counters } = this.#options;
    this.#counted = counters();
    this.#lookedMs = clock.now();
    this.#minute = Math.floor(epochNow() / MINUTE_MS);
    this.#timer = clock.setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  firstToken(ms: number): void {
    addWait(this.#sample.firstTokens, ms);
  }

  /** Measures now. */
  look(): void {
    const { clock, epochNow, counters, levels } = this.#options;
    const minute = Math.floor(epochNow() / MINUTE_MS);
    const nowMs = clock.now();
    const spanMs = Math.min(nowMs - this.#lookedMs, MAX_SPAN_MS);
    this.#lookedMs = nowMs;
    const now = counters();
    const sample = this.#sample;
    for (const name of Object.keys(now) as (keyof Counters)[])
      sample[name] += Math.max(0, now[name] - this.#counted[name]);
    this.#counted = now;
    const { streams, queued, tabs, experts, covered } = levels();
    sample.spanMs += spanMs;
    sample.streamMs += streams * spanMs;
    sample.queuedMs += queued * spanMs;
    sample.tabMs += tabs * spanMs;
    sample.expertMs += experts * spanMs;
    sample.coveredMs += covered * spanMs;
    if (minute !== this.#minute) this.#handOver(minute);
  }

  /** Hands over what is there, and ends. */
  close(): void {
    this.#options.clock.clear(this.#timer);
    this.look();
    this.#handOver(this.#minute);
  }

  /** A look that is a few seconds into a minute is mostly of the one before. */
  #handOver(next: number): void {
    const sample = this.#sample;
    if (sample.spanMs > 0) this.#options.take(this.#minute * MINUTE_MS, sample);
    this.#sample = emptySample();
    this.#minute = next;
  }
}
