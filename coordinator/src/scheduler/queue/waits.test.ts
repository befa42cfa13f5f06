import { createRng, type ForwardEngine } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { Admission } from './admission.ts';
import { GenerationError } from '../generation.ts';
import { Pace, turnsMs } from './pace.ts';
import { Sequence } from '../sequence.ts';
import { Waits } from './waits.ts';

const PROMPT_ROWS_PER_STEP = 64;

interface Cache {
  length: number;
  allocatedBytes: number;
  truncate(): void;
  free(): void;
}

/** An engine on a virtual clock: passes of 20 ms and 1 ms a row, give or take a quarter. */
class VirtualEngine {
  nowMs = 0;
  /** When each request left the queue, from the first on. */
  readonly turns: number[] = [];
  readonly pace = new Pace();
  readonly admission: Admission;
  readonly waits: Waits;
  readonly #rng: () => number;
  /** Tokens that each will write, which nobody knows. */
  readonly #lengths = new Map<Sequence, number>();
  #numbers = 0;

  constructor(seed: number, maxBatch: number, maxQueue: number) {
    this.#rng = createRng(seed);
    const newSequence = (): Cache => ({ length: 0, allocatedBytes: 0, truncate: () => {}, free: () => {} });
    const forward = { lendPages: () => undefined, newSequence } as unknown as ForwardEngine;
    this.admission = new Admission({ forward, maxContext: 1e6, maxBatch, maxQueue });
    this.waits = new Waits({ admission: this.admission, pace: this.pace });
    this.admission.onAdmitted = (sequence) => {
      sequence.admittedMs = this.nowMs;
      this.turns.push(this.nowMs);
    };
  }

  /** Whether it was taken. Three answers in four end before `maxTokens`. */
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
    if (lastTokensMs !== undefined) this.pace.tokens(1, this.nowMs - lastTokensMs);
    else this.pace.prompt(request.promptIds.length, this.nowMs - sequence.admittedMs!);
    sequence.lastTokensMs = this.nowMs;
    this.admission.charge(sequence, 1);
    if (sequence.completionTokens < this.#lengths.get(sequence)!) return;
    this.pace.ended(sequence.completionTokens, request.maxTokens);
    sequence.fail(new GenerationError('cancelled', 'It has what it needs.'));
  }
}

/** Full, with what it has done lately measured. */
function busy(seed: number): VirtualEngine {
  const engine = new VirtualEngine(seed, 16, 32);
  const rng = createRng(seed);
  for (let pass = 0; pass < 250; pass++) {
    while (engine.submit(`client ${Math.floor(rng() * 4)}`)) {
      // As many as it takes.
    }
    engine.pass();
  }
  return engine;
}

describe('the time that a refused request is told', () => {
  it('is that of its place in the queue: half of them within a third, nine in ten within a factor of two', () => {
    const ratios: number[] = [];
    for (let seed = 1; seed <= 10; seed++) {
      const engine = busy(seed);
      const refusedMs = engine.nowMs;
      const before = engine.turns.length;
      // From four clients in turn, so that the n-th is told of the n-th place.
      const told = Array.from({ length: 24 }, (_, i) => engine.waits.retryAfterMs(`client ${i % 4}`, refusedMs)!);
      while (engine.turns.length < before + told.length) engine.pass();
      // Places less than a few passes away are a matter of passes, not of a rate.
      told.forEach((ms, i) => ratios.push((ms + 150) / (engine.turns[before + i]! - refusedMs + 150)));
    }
    const sorted = ratios.map((ratio) => Math.max(ratio, 1 / ratio)).sort((a, b) => a - b);
    expect(sorted[Math.floor(sorted.length * 0.5)]).toBeLessThan(4 / 3);
    expect(sorted[Math.floor(sorted.length * 0.9)]).toBeLessThan(2);
    const mean = ratios.reduce((total, ratio) => total + Math.log(ratio), 0) / ratios.length;
    expect(Math.abs(mean)).toBeLessThan(Math.log(1.25));
  });

  it('is one at which most are taken, when all come back as they were told', () => {
    let taken = 0;
    let returned = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const engine = busy(seed);
      const back = Array.from({ length: 30 }, (_, i) => {
        const client = `client ${i % 3}`;
        return { client, atMs: engine.nowMs + engine.waits.retryAfterMs(client, engine.nowMs)! };
      }).sort((a, b) => a.atMs - b.atMs);
      for (const { client, atMs } of back) {
        while (engine.nowMs < atMs) engine.pass();
        returned++;
        if (engine.submit(client)) taken++;
      }
    }
    expect(taken / returned).toBeGreaterThan(0.8);
  });

  it('does not grow for one client by the requests of another beyond its turn', () => {
    const engine = busy(3);
    for (let i = 0; i < 200; i++) engine.waits.retryAfterMs('flood', engine.nowMs);
    const polite = engine.waits.retryAfterMs('polite', engine.nowMs)!;
    const flood = engine.waits.retryAfterMs('flood', engine.nowMs)!;
    expect(polite).toBeLessThan(flood / 5);
    // Whoever came back is not expected once more.
    engine.waits.returned('polite');
    expect(engine.waits.retryAfterMs('polite', engine.nowMs)).toBe(polite);
  });

  it('costs a flood of refusals one look at the queue for all of a moment, and a bounded memory', () => {
    const engine = busy(3);
    let looks = 0;
    const { admission } = engine;
    const inOrder = (limit: number): Sequence[] => {
      looks++;
      return admission.inOrder(limit);
    };
    const waits = new Waits({ admission: { running: admission.running, inOrder }, pace: engine.pace });
    for (let i = 0; i < 5000; i++) waits.retryAfterMs(`client ${i % 2000}`, engine.nowMs);
    expect(looks).toBe(1);
    expect(waits.told).toBe(1024);
    // Within the moment times are told from what was seen; after it the queue is looked at again.
    const waitMs = waits.retryAfterMs('late', engine.nowMs)!;
    expect(waits.retryAfterMs('later', engine.nowMs + 10)).toBeCloseTo(waitMs - 10);
    waits.retryAfterMs('last', engine.nowMs + 20);
    expect(looks).toBe(2);
  });

  it('is not made up where nothing was measured', () => {
    const engine = new VirtualEngine(1, 1, 1);
    while (engine.submit('a')) {
      // Nothing was computed yet.
    }
    expect(engine.waits.retryAfterMs('a', 0)).toBeNull();
  });
});

describe('the time until a waiting request’s turn', () => {
  it('is in the order of turns, not of arrival', () => {
    const engine = busy(5);
    for (let i = 0; i < 4; i++) engine.pass();
    while (engine.admission.waiting.length > 20) engine.pass();
    expect(engine.submit('newcomer')).toBe(true);
    const newcomer = engine.admission.waiting.at(-1)!;
    const others = engine.admission.inOrder(100).filter((sequence) => sequence !== newcomer);
    const last = engine.waits.untilTurnMs(others.at(-1)!)!;
    expect(engine.waits.untilTurnMs(newcomer)!).toBeLessThan(last / 2);
  });

  it('is at least that of the last one within sight, in a queue that is longer', () => {
    const engine = new VirtualEngine(7, 8, 1000);
    const submitMany = (count: number): void => {
      for (let i = 0; i < count; i++) engine.submit(`client ${i % 4}`);
    };
    submitMany(40);
    for (let i = 0; i < 200; i++) engine.pass();
    submitMany(400);
    const order = engine.admission.inOrder(1000);
    expect(order.length).toBeGreaterThan(300);
    const inSight = engine.waits.untilTurnMs(order[255]!)!;
    expect(inSight).toBeGreaterThan(engine.waits.untilTurnMs(order[100]!)!);
    expect(engine.waits.untilTurnMs(order[256]!)).toBe(inSight);
    expect(engine.waits.untilTurnMs(order.at(-1)!)).toBe(inSight);
  });

  it('follows from when the running ones end', () => {
    expect(turnsMs([30, 10], [5, 100, 1, 1], 4)).toEqual([10, 15, 30, 31]);
    expect(turnsMs([], [5], 2)).toEqual([]);
    // Beyond those that wait, others like them.
    expect(turnsMs([10], [4, 6], 4)).toEqual([10, 14, 20, 25]);
  });
});
