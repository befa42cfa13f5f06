import { createRng, type ForwardEngine } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { GenerationError } from '../generation.ts';
import { Sequence } from '../sequence.ts';
import { Admission } from './admission.ts';
import { ServiceRate } from './service-rate.ts';

const PROMPT_ROWS_PER_STEP = 64;

interface Cache {
  length: number;
  allocatedBytes: number;
  truncate(): void;
  keep(): void;
  free(): void;
}

/** A scheduler on a virtual clock: passes of 20 ms and 1 ms a row, varying by a quarter. */
class VirtualScheduler {
  nowMs = 0;
  /** When each request left the queue, from the first on. */
  readonly turns: number[] = [];
  readonly rate = new ServiceRate();
  readonly admission: Admission;
  readonly #maxQueue: number;
  readonly #rng: () => number;
  /** Tokens that each will write, unknown to the scheduler. */
  readonly #lengths = new Map<Sequence, number>();
  #numbers = 0;

  constructor(seed: number, maxBatch: number, maxQueue: number) {
    this.#rng = createRng(seed);
    const newSequence = (): Cache => ({
      length: 0,
      allocatedBytes: 0,
      truncate: () => {},
      keep: () => {},
      free: () => {},
    });
    const forward = { lendPages: () => undefined, newSequence } as unknown as ForwardEngine;
    this.#maxQueue = maxQueue;
    const onAdmitted = (sequence: Sequence): void => {
      sequence.admittedMs = this.nowMs;
      this.turns.push(this.nowMs);
    };
    this.admission = new Admission({ forward, maxContext: 1e6, maxBatch, maxQueue, onAdmitted });
  }

  /** `Retry-After` of a request that is rejected now. */
  retryAfterMs(): number | undefined {
    const intervalMs = this.rate.intervalMs(this.admission.running.length, this.admission.waiting);
    return intervalMs && this.rate.retryAfterMs(intervalMs, this.nowMs, this.#maxQueue);
  }

  /** Submits a request of random length and returns whether it was taken; 3 in 4 answers end before `maxTokens`. */
  submit(client: string): boolean {
    this.admission.update();
    if (this.admission.refusal(client)) return false;
    const size = (mean: number): number => 1 + Math.floor(-Math.log(1 - this.#rng()) * mean);
    const maxTokens = size(100);
    const request = {
      id: String(this.#numbers++),
      client,
      promptIds: Array.from({ length: size(100) }, () => 1),
      maxTokens,
      temperature: 0,
      topP: 1,
      seed: 1,
      signal: new AbortController().signal,
    };
    const sequence = new Sequence(request, 0);
    this.#lengths.set(sequence, this.#rng() < 0.25 ? maxTokens : Math.ceil(this.#rng() * maxTokens));
    this.admission.add(sequence);
    this.admission.update();
    return true;
  }

  pass(): void {
    let promptRows = PROMPT_ROWS_PER_STEP;
    let rows = 0;
    const ready: Sequence[] = [];
    for (const sequence of this.admission.running) {
      const cache = sequence.cache as unknown as Cache;
      const wanted = sequence.request.promptIds.length - cache.length;
      const taken = wanted > 0 ? Math.min(promptRows, wanted) : 1;
      if (wanted > 0) promptRows -= taken;
      cache.length += taken;
      rows += taken;
      if (taken >= wanted) ready.push(sequence);
    }
    this.nowMs += (20 + rows) * (0.75 + this.#rng() / 2);
    for (const sequence of ready) this.#token(sequence);
    this.admission.update();
  }

  #token(sequence: Sequence): void {
    const { lastTokensMs, request } = sequence;
    sequence.ids.push(1);
    if (lastTokensMs !== undefined) this.rate.tokens(1, this.nowMs - lastTokensMs);
    else this.rate.firstToken(this.nowMs - sequence.admittedMs!);
    sequence.lastTokensMs = this.nowMs;
    this.admission.charge(sequence, 1);
    if (sequence.completionTokens < this.#lengths.get(sequence)!) return;
    this.rate.ended(sequence.completionTokens, request.maxTokens);
    sequence.fail(new GenerationError('cancelled', 'It has what it needs.'));
  }
}

/** A scheduler with a full queue that has run for a while. */
function busy(seed: number): VirtualScheduler {
  const scheduler = new VirtualScheduler(seed, 16, 32);
  const rng = createRng(seed);
  for (let pass = 0; pass < 250; pass++) {
    while (scheduler.submit(`client ${Math.floor(rng() * 4)}`)) {
      // Fills the queue.
    }
    scheduler.pass();
  }
  return scheduler;
}

describe('ServiceRate', () => {
  it('tells rejected requests when places come free: half within a factor of 1.5, nine in ten within 2.5', () => {
    const factors: number[] = [];
    for (let seed = 1; seed <= 10; seed++) {
      const scheduler = busy(seed);
      const rejectedMs = scheduler.nowMs;
      const before = scheduler.turns.length;
      const told = Array.from({ length: 24 }, () => scheduler.retryAfterMs()!);
      while (scheduler.turns.length < before + told.length) scheduler.pass();
      // Places that are less than a few passes away depend on single passes, not on a rate.
      for (const [i, ms] of told.entries()) {
        const ratio = (ms + 150) / (scheduler.turns[before + i]! - rejectedMs + 150);
        factors.push(Math.max(ratio, 1 / ratio));
      }
    }
    factors.sort((a, b) => a - b);
    expect(factors[Math.floor(factors.length * 0.5)]).toBeLessThan(1.5);
    expect(factors[Math.floor(factors.length * 0.9)]).toBeLessThan(2.5);
  });

  it('names times at which most requests find a place, if all come back as they were told', () => {
    let [taken, returned] = [0, 0];
    for (let seed = 1; seed <= 10; seed++) {
      const scheduler = busy(seed);
      const back = Array.from({ length: 30 }, () => scheduler.nowMs + scheduler.retryAfterMs()!);
      for (const [i, atMs] of back.entries()) {
        while (scheduler.nowMs < atMs) scheduler.pass();
        returned++;
        if (scheduler.submit(`client ${i % 3}`)) taken++;
      }
    }
    expect(taken / returned).toBeGreaterThan(0.75);
  });

  it('never tells more than the time in which the whole queue moves, however many requests are rejected', () => {
    const rate = new ServiceRate();
    const told = Array.from({ length: 1000 }, () => rate.retryAfterMs(50, 0, 32));
    expect(told.slice(0, 3)).toEqual([50, 100, 150]);
    expect(told.at(-1)).toBe(32 * 50);
    expect(rate.retryAfterMs(50, 10_000, 32)).toBe(50);
  });

  it('tells nothing before a request has been measured', () => {
    const scheduler = new VirtualScheduler(1, 1, 1);
    while (scheduler.submit('a')) {
      // Fills the queue.
    }
    expect(scheduler.retryAfterMs()).toBeUndefined();
  });
});
