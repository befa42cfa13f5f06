import { createRng, type ExpertDispatch } from '@shoal/model';
import { beforeEach, describe, expect, it } from 'vitest';
import { Scheduler, type SchedulerLimits } from './scheduler.ts';
import { testLimits, testSpeculation } from './testing/options.ts';
import { expected, lappingForward, NUM_LAYERS, submit } from './testing/lapping-forward.ts';

interface Lap {
  layer: number;
  rows: number;
  answer: () => void;
  fail: (error: Error) => void;
}

/** Laps in flight, oldest first; the test answers each. */
let laps: Lap[];
const experts = {
  batch: (): ExpertDispatch => ({
    dispatch: ({ layer, numRows, x }) => {
      const back = new Promise<Float32Array>((resolve, reject) => {
        laps.push({ layer, rows: numRows, answer: () => resolve(x), fail: reject });
      });
      return { combine: () => back };
    },
  }),
};

beforeEach(() => (laps = []));

const newScheduler = (limits: Partial<SchedulerLimits>): Scheduler =>
  new Scheduler({
    modelId: 'small',
    forward: lappingForward(),
    experts,
    limits: testLimits({ microBatches: 2, ...limits }),
    lapsPerPass: NUM_LAYERS,
    speculation: testSpeculation(),
    now: () => 0,
  });

/** Waits until everything that needs no lap has run. */
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
};

const rowsOut = (): number[] => laps.map(({ rows }) => rows);

async function answerAll(): Promise<void> {
  for (const lap of laps.splice(0)) lap.answer();
  await settle();
}

describe('two micro-batches', () => {
  it('have half of the rows each in flight, of different sequences', async () => {
    const shoal = newScheduler({});
    const answers = Array.from({ length: 16 }, (_, i) => submit(shoal, [i], 3));
    await settle();
    // One row of each prompt.
    expect(rowsOut()).toEqual([8, 8]);
    expect([shoal.microBatches, shoal.occupancy.passes]).toEqual([2, 2]);
    while (laps.length > 0) {
      expect(rowsOut()).toEqual([8, 8]);
      await answerAll();
    }
    for (const [i, answer] of answers.entries()) expect(await answer).toEqual(expected([i], 3));
    expect([shoal.passes, shoal.rows]).toEqual([6, 48]);
    expect(shoal.occupancy.passes).toBe(0);
  });

  it('are one where two were forbidden: a pass has all rows, and nothing else is in flight', async () => {
    const shoal = newScheduler({ microBatches: 1 });
    const answers = Array.from({ length: 16 }, (_, i) => submit(shoal, [i], 2));
    await settle();
    while (laps.length > 0) {
      expect(rowsOut()).toEqual([16]);
      await answerAll();
    }
    await Promise.all(answers);
    expect(shoal.passes).toBe(2);
  });

  it('go at their own pace: a lap that hangs holds up its own half only', async () => {
    const shoal = newScheduler({});
    const answers = Array.from({ length: 4 }, (_, i) => submit(shoal, [i], 5));
    await settle();
    const [hangs] = laps.splice(0, 1);
    while (laps.length > 0) await answerAll();
    const done = shoal.running.filter(({ finished }) => finished);
    expect([done.length, shoal.running.length]).toEqual([0, 2]);
    hangs!.answer();
    await settle();
    // Its rows now continue in two micro-batches.
    expect(laps.length).toBeGreaterThan(0);
    while (laps.length > 0) await answerAll();
    for (const [i, answer] of answers.entries()) expect(await answer).toEqual(expected([i], 5));
  });

  it('let a new prompt begin while the laps of others are out', async () => {
    const shoal = newScheduler({});
    const first = submit(shoal, [1, 2, 3], 2);
    await settle();
    expect(rowsOut()).toEqual([3]);
    const second = submit(shoal, [4, 5], 2);
    await settle();
    expect(rowsOut()).toEqual([3, 2]);
    while (laps.length > 0) await answerAll();
    expect(await first).toEqual(expected([1, 2, 3], 2));
    expect(await second).toEqual(expected([4, 5], 2));
  });

  it('come together again from any imbalance', async () => {
    const shoal = newScheduler({});
    const answers = Array.from({ length: 6 }, (_, i) => submit(shoal, [i], i < 3 ? 1 : 12));
    for (let round = 0; round < 8; round++) {
      await settle();
      await answerAll();
    }
    // Three have ended, perhaps a whole micro-batch: the others are split again.
    expect(rowsOut().sort()).toEqual([1, 2]);
    while (laps.length > 0) await answerAll();
    await Promise.all(answers);
  });

  it('fail apart', async () => {
    const shoal = newScheduler({});
    const answers = Array.from({ length: 4 }, (_, i) => submit(shoal, [i], 3).catch((error: Error) => error.message));
    await settle();
    laps.shift()!.fail(new Error('no shard'));
    while (laps.length > 0) await answerAll();
    const ends = await Promise.all(answers);
    expect(ends.filter((end) => typeof end === 'string')).toHaveLength(2);
    for (const [i, end] of ends.entries()) if (typeof end !== 'string') expect(end).toEqual(expected([i], 3));
  });

  it('mix prompt rows with decoding ones, in bounded pieces, and none is left behind', async () => {
    const shoal = newScheduler({ prefillRows: 16 });
    const decoding = Array.from({ length: 4 }, (_, i) => submit(shoal, [i], 40));
    for (let round = 0; round < 4; round++) {
      await settle();
      await answerAll();
    }
    const prompts = [0, 1].map((p) => Array.from({ length: 60 }, (_, i) => (i + p) % 30));
    const long = prompts.map((prompt) => submit(shoal, prompt, 2));
    const seen: number[] = [];
    while (laps.length > 0) {
      seen.push(...rowsOut());
      await answerAll();
    }
    // One half has the 4 that decode and a piece of one prompt, the other a piece of the other.
    expect(seen).toContain(20);
    expect(seen).toContain(16);
    expect(Math.max(...seen)).toBeLessThanOrEqual(20);
    for (const [i, answer] of decoding.entries()) expect(await answer).toEqual(expected([i], 40));
    for (const [p, answer] of long.entries()) expect(await answer).toEqual(expected(prompts[p]!, 2));
  });

  it('give everybody the tokens of its own, in whatever order laps come back and requests come in', async () => {
    for (const seed of [1, 2, 3]) {
      const rng = createRng(seed);
      const below = (limit: number): number => Math.floor(rng() * limit);
      const shoal = newScheduler({ maxBatch: 6, prefillRows: 7 });
      const answers: Promise<void>[] = [];
      let left = 40;
      for (let step = 0; left > 0 || laps.length > 0 || shoal.running.length > 0; step++) {
        expect(step).toBeLessThan(10_000);
        if (left > 0 && rng() < 0.2) {
          left--;
          const prompt = Array.from({ length: 1 + below(20) }, () => below(30));
          const count = 1 + below(8);
          answers.push(submit(shoal, prompt, count).then((ids) => expect(ids).toEqual(expected(prompt, count))));
        }
        expect(laps.length).toBeLessThanOrEqual(2);
        if (laps.length > 0) laps.splice(below(laps.length), 1)[0]!.answer();
        await new Promise(setImmediate);
      }
      await Promise.all(answers);
      await shoal.drain(1000);
      expect([shoal.running.length, shoal.queued.length]).toEqual([0, 0]);
    }
  });

  it('drain when both have ended', async () => {
    const shoal = newScheduler({});
    const answers = [1, 2].map((id) => submit(shoal, [id], 1));
    await settle();
    let isDrained = false;
    const drained = shoal.drain(60_000).then(() => (isDrained = true));
    laps.shift()!.answer();
    await settle();
    laps.pop()!.answer();
    await settle();
    expect(isDrained).toBe(false);
    while (laps.length > 0) await answerAll();
    await drained;
    await Promise.all(answers);
  });
});
