import type { EngineRow, ForwardEngine, ModelConfig } from '@shoal/model';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GenerationError, type GenerationRequest } from './generation.ts';
import { Scheduler, type SchedulerLimits } from './scheduler.ts';
import { lapsOf, NO_DRAFTS, testLimits } from './testing/options.ts';

const LAPS = 5;
/** Passes until the budget has grown to its limit. */
const GROWING = 6;
/** Cost of a pass, and of each of its rows. */
const PASS_MS = 100;
const ROW_MS = 0.5;

/** [passes] rows of each. */
let passes: number[];
/** What a pass of so many rows takes, in milliseconds. */
let passMs: (rows: number) => number;

/** Passes take virtual time, and every token is the same: only the order of the work is under test. */
function newScheduler(limits: Partial<SchedulerLimits> = {}): Scheduler {
  const forward = {
    config: { maxPositionEmbeddings: 4096, eosTokenIds: [], numHiddenLayers: LAPS, layerKinds: layerKinds() },
    lendPages: () => undefined,
    newSequence: () => ({ length: 0, allocatedBytes: 0, truncate: () => {}, keep: () => {}, free: () => {} }),
    forward: async (rows: readonly EngineRow[]) => {
      passes.push(rows.length);
      vi.advanceTimersByTime(passMs(rows.length));
      for (const { cache } of rows) (cache as { length: number }).length++;
      return { answers: rows.map(() => ({ tokenId: 1 })), hidden: new Float32Array(0) };
    },
  } as unknown as ForwardEngine;
  return new Scheduler({
    modelId: 'none',
    forward,
    experts: { batch: () => ({ dispatch: () => expect.unreachable() }) },
    limits: testLimits(limits),
    lapsPerPass: lapsOf(forward),
    speculation: NO_DRAFTS,
  });
}

function layerKinds(): ModelConfig['layerKinds'] {
  return Array.from({ length: LAPS }, () => 'moe') as unknown as ModelConfig['layerKinds'];
}

const ends: string[] = [];

/** Reads the answer to its end; `started` and `ended` in virtual time. */
async function ask(to: Scheduler, id: string, promptTokens: number, maxTokens: number, client?: string) {
  const { signal } = new AbortController();
  const request: GenerationRequest = {
    id,
    promptIds: Array.from({ length: promptTokens }, () => 1),
    maxTokens,
    temperature: 0,
    topP: 1,
    seed: 1,
    signal,
    ...(client !== undefined && { client }),
  };
  const submittedMs = performance.now();
  const tokens: number[] = [];
  for await (const event of to.submit(request))
    if (event.type === 'token') tokens.push(performance.now() - submittedMs);
  ends.push(id);
  return { tokens, firstTokenMs: tokens[0]! };
}

/** Waits until `count` more passes have begun. */
async function forPasses(count: number): Promise<void> {
  const until = passes.length + count;
  while (passes.length < until) await new Promise(setImmediate);
}

beforeEach(() => {
  passes = [];
  passMs = (rows) => PASS_MS + ROW_MS * rows;
  ends.length = 0;
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
});
afterEach(() => vi.useRealTimers());

describe('running streams', () => {
  it.each([1, 3])('are held up by a long prompt for %i laps’ time a token at most', async (promptLaps) => {
    const shoal = newScheduler({ promptLaps });
    const gaps: number[] = [];
    const streams = Array.from({ length: 4 }, (_, i) => ask(shoal, `stream ${i}`, 10, 300));
    // Costs are measured on arriving prompts.
    for (let i = 0; i < 12; i++) await forPasses(4).then(() => streams.push(ask(shoal, `prompt ${i}`, 40, 1)));
    await forPasses(6);
    shoal.latency.events.on('wait', (wait, ms) => void (wait === 'betweenTokens' && gaps.push(ms)));
    const long = await ask(shoal, 'long', 2000, 1);
    const aloneMs = PASS_MS + 4 * ROW_MS;
    const lapMs = aloneMs / LAPS;
    expect(Math.max(...gaps)).toBeLessThanOrEqual((aloneMs + promptLaps * lapMs) * 1.001);
    // And it used the budget: nearly `promptLaps` laps' worth of rows in each pass.
    const passesOfIt = gaps.length / 4;
    expect(passesOfIt).toBeLessThan((2000 / ((promptLaps * lapMs) / ROW_MS)) * 1.2 + GROWING);
    expect(long.tokens).toHaveLength(1);
    await Promise.all(streams);
  });

  it('leave a prompt the whole chunk where there are none', async () => {
    await ask(newScheduler(), 'long', 1000, 2);
    expect(passes).toEqual([256, 256, 256, 232, 1]);
  });
});

describe('a short prompt', () => {
  it('has its first token long before a long one that came first', async () => {
    const shoal = newScheduler();
    const long = ask(shoal, 'long', 4000, 1);
    await forPasses(2);
    const short = await ask(shoal, 'short', 20, 1);
    // The pass that was under way, and its own.
    expect(short.firstTokenMs).toBeLessThan(2.1 * (PASS_MS + ROW_MS * 256));
    expect((await long).firstTokenMs).toBeGreaterThan(15 * PASS_MS);
  });
});

describe('sixteen short prompts that come at once', () => {
  const [TOKENS, ANSWER, COLD_MS] = [9, 24, 900];

  /** Mean waits for first tokens, of one prompt and of sixteen whose first is in a pass before the others come, in milliseconds. */
  async function firstTokens(costMs: (rows: number) => number) {
    const shoal = newScheduler();
    // As where experts are read from the disk.
    passMs = (rows) => (passes.length === 1 ? COLD_MS : 0) + costMs(rows);
    await ask(shoal, 'cold', 36, ANSWER);
    const alone = await ask(shoal, 'alone', TOKENS, ANSWER);
    const first = ask(shoal, 'first', TOKENS, ANSWER);
    await forPasses(1);
    const others = Array.from({ length: 15 }, (_, i) => ask(shoal, `other ${i}`, TOKENS, ANSWER));
    const all = (await Promise.all([first, ...others])).map(({ firstTokenMs }) => firstTokenMs);
    return { alone: alone.firstTokenMs, mean: all.reduce((a, b) => a + b) / 16 };
  }

  it.each([
    ['over a network', (rows: number) => 100 + 0.4 * rows],
    ['on this machine alone', (rows: number) => 3 + 0.2 * rows],
  ])('share passes from the first one on, %s', async (_, costMs) => {
    const { alone, mean } = await firstTokens(costMs);
    expect(mean / alone).toBeLessThan(6);
  });
});

describe('one client’s many requests', () => {
  it('do not hold up another’s single one', async () => {
    const shoal = newScheduler({ maxBatch: 4, maxQueue: 100 });
    const many = Array.from({ length: 60 }, (_, i) => ask(shoal, `many ${i}`, 10, 10, 'many'));
    await forPasses(3);
    const one = ask(shoal, 'one', 10, 10, 'one');
    await one;
    expect(ends.indexOf('one')).toBeLessThan(8);
    await Promise.all(many);
  });

  it('do not fill the queue', async () => {
    const shoal = newScheduler({ maxBatch: 1, maxQueue: 16 });
    const asked = Array.from({ length: 13 }, (_, i) => ask(shoal, `many ${i}`, 10, 2, 'many'));
    const refused = await ask(shoal, 'more', 10, 2, 'many').catch((error: unknown) => error);
    expect(refused).toMatchObject({ reason: 'share-full', retryAfterS: expect.any(Number) });
    asked.push(ask(shoal, 'one', 10, 2, 'one'));
    await Promise.all(asked);
    expect(shoal.refusals).toEqual({ 'queue-full': 0, 'share-full': 1, 'too-late': 0 });
  });
});

describe('a refused request', () => {
  async function refusalOf(shoal: Scheduler, maxTokens = 20): Promise<GenerationError> {
    const outcome = await ask(shoal, 'refused', 10, maxTokens).catch((error: unknown) => error);
    if (outcome instanceof GenerationError) return outcome;
    return expect.unreachable('it was taken');
  }

  it('is told when its place comes free, within a factor of two', async () => {
    const shoal = newScheduler({ maxBatch: 4, maxQueue: 4 });
    await ask(shoal, 'before', 10, 20);
    const asked = Array.from({ length: 8 }, (_, i) => ask(shoal, `a ${i}`, 10, 20 + i, `client ${i % 2}`));
    await forPasses(10);
    const told = [await refusalOf(shoal), await refusalOf(shoal)];
    const atMs = performance.now();
    const freeMs: number[] = [];
    for (let free = 1; free <= 2; free++) {
      while (shoal.queued.length > 4 - free) await new Promise(setImmediate);
      freeMs.push(performance.now() - atMs);
    }
    expect(told.map(({ reason }) => reason)).toEqual(['queue-full', 'queue-full']);
    told.forEach(({ retryAfterS }, i) => {
      expect(retryAfterS! * 1000).toBeGreaterThan(freeMs[i]! / 2 - PASS_MS);
      expect(retryAfterS! * 1000).toBeLessThan(freeMs[i]! * 2 + PASS_MS);
    });
    await Promise.all(asked);
  });

  it('is one that would surely wait for longer than it may take', async () => {
    const shoal = newScheduler({ maxBatch: 1, maxQueue: 64, requestTimeoutMs: 60_000 });
    await ask(shoal, 'before', 10, 20);
    // About 50 s each: the fourth would wait for 150 s, and even half of that is too long.
    const asked = Array.from({ length: 4 }, (_, i) => ask(shoal, `a ${i}`, 10, 500).catch((error: unknown) => error));
    expect(shoal.queued).toHaveLength(2);
    await shoal.drain(0);
    expect(await Promise.all(asked)).toMatchObject([
      ...Array.from({ length: 3 }, () => ({ reason: 'draining' })),
      { reason: 'too-late', retryAfterS: expect.closeTo(151 - 120, 0) },
    ]);
  });
});

describe('latency', () => {
  it('is from the submission to the first token, then from token to token', async () => {
    const shoal = newScheduler({ maxBatch: 1 });
    const waits: Record<string, number[]> = { queue: [], firstToken: [], betweenTokens: [] };
    shoal.latency.events.on('wait', (wait, ms) => void waits[wait]!.push(ms));
    const [first, second] = await Promise.all([ask(shoal, 'first', 10, 3), ask(shoal, 'second', 10, 2)]);
    expect(waits.queue).toEqual([0, PASS_MS * 3 + ROW_MS * 12]);
    expect(waits.firstToken).toEqual([first.firstTokenMs, second.firstTokenMs]);
    expect(waits.betweenTokens).toEqual([100.5, 100.5, 100.5]);
  });
});
