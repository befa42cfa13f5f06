import { createRng, normalDraw } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { Acceptance } from './acceptance.ts';
import { CallCost, PassCost } from './cost.ts';
import { chooseDepths } from './depth.ts';
import { Draws } from './draws.ts';
import { PromptLookup } from './lookup.ts';
import { type HiddenReading, HiddenReadings } from './reading.ts';
import { StreamSpeculation } from './stream.ts';
import { verifyDrafts } from './verify.ts';

describe('draws', () => {
  it('come in order, however far somebody looked ahead', () => {
    const [rng, draws] = [createRng(3), new Draws(createRng(3))];
    const expected = Array.from({ length: 9 }, rng);
    expect([draws.peek(2), draws.peek(0), draws.next(), draws.peek(3)]).toEqual([2, 0, 0, 4].map((i) => expected[i]!));
    expect(Array.from({ length: 8 }, () => draws.next())).toEqual(expected.slice(1));
  });
});

describe('verification', () => {
  it.each<[string, number[], (number | undefined)[], number]>([
    ['all right', [1, 2, 3], [1, 2, 3, 9], 3],
    ['the second wrong', [1, 2, 3], [1, 7], 1],
    ['the first wrong', [1, 2], [5], 0],
    ['none', [], [4], 0],
    ['right until the answer ends', [1, 2, 3], [1, undefined], 1],
  ])('takes tokens as far as drafts are right: %s', (_, drafts, choices, accepted) => {
    const asked: number[] = [];
    const choose = (i: number): number | undefined => {
      asked.push(i);
      return choices[i];
    };
    expect(verifyDrafts(drafts, choose)).toBe(accepted);
    expect(asked).toEqual(choices.map((_choice, i) => i));
  });
});

describe('acceptance', () => {
  it('begins with the prior, learns each depth from those who came so far, and forgets', () => {
    const acceptance = new Acceptance((depth) => (depth === 1 ? 0.8 : 0.4), 0.9);
    expect([acceptance.rate(1), acceptance.rate(2)]).toEqual([0.8, 0.4]);
    for (let i = 0; i < 50; i++) acceptance.judge(3, 1);
    expect(acceptance.rate(1)).toBeGreaterThan(0.9);
    expect(acceptance.rate(2)).toBeLessThan(0.15);
    expect(acceptance.rate(3)).toBe(0.4);
    expect(acceptance.reach(2)).toBeCloseTo(acceptance.rate(1) * acceptance.rate(2));
    for (let i = 0; i < 50; i++) acceptance.judge(1, 0);
    expect(acceptance.rate(1)).toBeLessThan(0.3);
  });
});

describe('prompt lookup', () => {
  const find = (text: string, count = 4): string | undefined =>
    new PromptLookup(Array.from(text, (char) => char.charCodeAt(0)))
      .find(count)
      ?.drafts.map((id) => String.fromCharCode(id))
      .join('');

  it.each([
    ['abcdXabYab', 'Yab'.padEnd(4, 'Y'), 'the most recent of equally long repetitions'],
    ['abcdXbcYZbcd', 'XbcY', 'the longest repetition, though another is more recent'],
    ['abababab', 'abab', 'a repetition that goes on past the text’s end'],
    ['xxxxx', 'xxxx', 'one token again and again'],
  ])('%s → %s: %s', (text, drafts) => {
    expect(find(text)).toBe(drafts);
  });

  it('finds nothing where the end is new, or the text too short', () => {
    for (const text of ['', 'a', 'ab', 'abc', 'abcb']) expect(find(text)).toBeUndefined();
    expect(find('abcab', 0)).toBeUndefined();
  });

  it('keeps up with a text that grows, and tells how long the repetition is', () => {
    const ids = [1, 2, 3, 4];
    const lookup = new PromptLookup(ids);
    expect(lookup.find(2)).toBeUndefined();
    ids.push(1, 2, 3);
    expect(lookup.find(2)).toEqual({ length: 3, drafts: [4, 1] });
    ids.push(4, 1, 2);
    expect(lookup.find(1)).toEqual({ length: 6, drafts: [3] });
  });

  it('finds what a search of the whole text finds', () => {
    const rng = createRng(8);
    for (let round = 0; round < 200; round++) {
      const ids = Array.from({ length: 40 }, () => Math.floor(rng() * 3));
      let best = { length: 1, at: -1 };
      for (let at = ids.length - 2; at >= 1; at--) {
        let length = 0;
        while (length <= at && ids[at - length] === ids[ids.length - 1 - length]) length++;
        if (length > best.length) best = { length, at };
      }
      const found = new PromptLookup(ids).find(1);
      expect(found?.drafts[0]).toBe(best.at < 0 ? undefined : ids[best.at + 1]);
    }
  });
});

describe('the reading of the hidden state', () => {
  function tried(after: number, before: number, answers: number) {
    const rng = createRng(9);
    const chosen: HiddenReading[] = [];
    const readings = new HiddenReadings((reading) => chosen.push(reading));
    for (let i = 0; i < answers; i++) {
      const reading = readings.next();
      for (let draft = 0; draft < 20; draft++)
        readings.judge(reading, rng() < (reading === 'after-norm' ? after : before));
    }
    return { readings, chosen };
  }

  it.each<[number, number, number, HiddenReading | undefined]>([
    [0.9, 0.2, 4, 'after-norm'],
    [0.1, 0.85, 4, 'before-norm'],
    [0.95, 0.8, 40, 'after-norm'],
    [0.9, 0.9, 6, undefined],
  ])('right in %f after and %f before the norm, after %i answers: %s', (after, before, answers, expected) => {
    const { readings, chosen } = tried(after, before, answers);
    expect(chosen).toEqual(expected === undefined ? [] : [expected]);
    expect(readings.chosen).toBe(expected);
    if (expected !== undefined) expect(readings.next()).toBe(expected);
  });

  it('is chosen at last though nothing tells the two apart', () => {
    expect(tried(0.9, 0.9, 40).chosen).toHaveLength(1);
  });
});

describe('depth', () => {
  const stream = (rates: readonly number[], maxDrafts = rates.length) => ({
    maxDrafts,
    reach: (depth: number) => rates.slice(0, depth).reduce((a, b) => a * b, 1),
  });

  it('grows with acceptance and with the time of a pass, and stays within what is of use', () => {
    const cost = { msPerRow: 1, draftMs: () => 1 };
    expect(chooseDepths([stream([0.9, 0.5, 0.5, 0.5])], { ...cost, passMs: 2 })).toEqual([0]);
    expect(chooseDepths([stream([0.9, 0.5, 0.5, 0.5])], { ...cost, passMs: 6 })).toEqual([1]);
    expect(chooseDepths([stream([0.9, 0.5, 0.5, 0.5])], { ...cost, passMs: 200 })).toEqual([4]);
    expect(chooseDepths([stream([0.9, 0.9, 0.9], 1)], { ...cost, passMs: 200 })).toEqual([1]);
    expect(chooseDepths([], { ...cost, passMs: 200 })).toEqual([]);
  });

  it('gives rows to those streams whose drafts are right', () => {
    const streams = [stream([0.95, 0.9]), stream([0.1, 0.1]), stream([0.6, 0.5])];
    expect(chooseDepths(streams, { passMs: 6, msPerRow: 1.2, draftMs: () => 0 })).toEqual([2, 0, 0]);
  });

  it('falls as streams fill the engine', () => {
    const many = (count: number) =>
      chooseDepths(
        Array.from({ length: count }, () => stream([0.94, 0.5, 0.3, 0.3])),
        { passMs: 100 + count, msPerRow: 1, draftMs: () => 2 },
      )[0];
    expect([1, 16, 64, 4000].map(many)).toEqual([3, 2, 1, 0]);
  });
});

/** Rows and drafts take what they take, give or take; streams accept as they do. What comes of choosing depths by experience? */
interface World {
  streams: number;
  passMs: number;
  rowMs: number;
  draftMs: number;
  rates: readonly number[];
  /** How much longer the first pass and the first drafting call take: code is compiled, experts are read. */
  cold?: number;
  /** Of each prompt; 40 by default. */
  promptRows?: number;
}

/** Tokens a second of all streams, and by pass how deep the first of them is drafted. */
function run(
  { streams, passMs, rowMs, draftMs, rates, cold = 1, promptRows = 40 }: World,
  seed: number,
  fixedDepth?: number,
): { tokensPerSecond: number; depthOf: number[] } {
  const rng = createRng(seed);
  const took = (ms: number): number => ms * Math.exp(0.15 * normalDraw(rng));
  const [cost, draftCost] = [new PassCost(), new CallCost()];
  const prior = () => (depth: number) => (depth === 1 ? 0.85 : 0.5);
  const states = Array.from(
    { length: streams },
    () => new StreamSpeculation({ ids: [], lapsPerPass: 5, lapsPerDraft: 0, prior, mtp: undefined }),
  );
  for (let prompts = 0; prompts < streams; prompts++) {
    cost.add(promptRows, took(passMs + promptRows * rowMs) * (prompts === 0 ? cold : 1));
  }
  let calls = 0;
  let depths = states.map(() => 0);
  let [tokens, ms] = [0, 0];
  const depthOf: number[] = [];
  for (let pass = 0; pass < 150; pass++) {
    depthOf.push(depths[0]!);
    const rows = depths.reduce((sum, depth) => sum + 1 + depth, 0);
    const spentMs = took(passMs + rows * rowMs);
    cost.add(rows, spentMs);
    ms += spentMs;
    for (const [i, state] of states.entries()) {
      let accepted = 0;
      while (accepted < depths[i]! && rng() < rates[accepted]!) accepted++;
      state.acceptance('any').judge(depths[i]!, accepted);
      tokens += 1 + accepted;
    }
    const best = chooseDepths(
      states.map((state) => ({ maxDrafts: 4, reach: (depth) => state.acceptance('any').reach(depth) })),
      { passMs: cost.ms(streams), msPerRow: cost.msPerRow, draftMs: () => draftCost.ms },
    );
    depths = states.map((state, i) => fixedDepth ?? state.probed(best[i]!, 4, cost.isGuess));
    for (let call = 0; call < Math.max(...depths); call++) {
      const callMs = took(draftMs) * (calls++ === 0 ? cold : 1);
      draftCost.add(callMs);
      ms += callMs;
    }
  }
  return { tokensPerSecond: (tokens / ms) * 1000, depthOf };
}

const SEEDS = [1, 2, 3, 4, 5, 6];

describe('depths chosen by experience', () => {
  const mtp = [0.94, 0.48, 0.25, 0.25];
  it.each<[string, World]>([
    ['one stream, 20 ms a lap', { streams: 1, passMs: 100, rowMs: 0.5, draftMs: 1.5, rates: mtp }],
    ['one stream, no distance', { streams: 1, passMs: 3, rowMs: 0.3, draftMs: 1, rates: mtp }],
    ['16 streams, 20 ms a lap', { streams: 16, passMs: 105, rowMs: 0.6, draftMs: 3, rates: mtp }],
    ['16 streams, no distance', { streams: 16, passMs: 5, rowMs: 0.6, draftMs: 3, rates: mtp }],
    ['64 streams, no distance', { streams: 64, passMs: 10, rowMs: 0.9, draftMs: 8, rates: mtp }],
    ['one stream, 4 ms a lap, cold', { streams: 1, passMs: 24, rowMs: 2, draftMs: 1.5, rates: mtp, cold: 15 }],
    ['one stream, 20 ms a lap, cold', { streams: 1, passMs: 100, rowMs: 0.5, draftMs: 1.5, rates: mtp, cold: 15 }],
    [
      'one stream, 20 ms a lap, cold, of a short prompt',
      { streams: 1, passMs: 100, rowMs: 0.5, draftMs: 3, rates: mtp, cold: 15, promptRows: 5 },
    ],
    [
      'one stream, no distance, cold, of a short prompt',
      { streams: 1, passMs: 5, rowMs: 0.6, draftMs: 3, rates: mtp, cold: 100, promptRows: 5 },
    ],
    ['drafts that fail', { streams: 4, passMs: 10, rowMs: 2, draftMs: 1, rates: [0.1, 0.1, 0.1, 0.1] }],
    ['drafts that are right', { streams: 2, passMs: 50, rowMs: 1, draftMs: 1, rates: [0.95, 0.95, 0.9, 0.9] }],
  ])('come within 10 %% of the best fixed one: %s', (_, world) => {
    const mean = (fixedDepth?: number): number =>
      SEEDS.reduce((sum, seed) => sum + run(world, seed, fixedDepth).tokensPerSecond, 0) / SEEDS.length;
    const best = Math.max(...[0, 1, 2, 3, 4].map((depth) => mean(depth)));
    expect(mean()).toBeGreaterThan(0.9 * best);
  });
});

describe('the first answer of a cold engine', () => {
  it.each([5, 40])('is drafted within ten passes where laps take long, of a prompt of %i', (promptRows) => {
    const world = {
      streams: 1,
      passMs: 100,
      rowMs: 0.5,
      draftMs: 3,
      rates: [0.94, 0.48, 0.25, 0.25],
      cold: 15,
      promptRows,
    };
    for (const seed of SEEDS) {
      const { depthOf } = run(world, seed);
      expect(Math.min(...depthOf.slice(10, 30))).toBeGreaterThan(0);
    }
  });
});

describe('cost', () => {
  it('of a pass is taken apart into rows and the rest, though now and then one is held up', () => {
    const rng = createRng(5);
    const cost = new PassCost();
    expect(cost.ms(3)).toBe(0);
    for (let i = 0; i < 300; i++) {
      const rows = 1 + Math.floor(rng() * 8);
      cost.add(rows, (50 + 3 * rows) * (rng() < 0.02 ? 20 : 0.95 + rng() / 10));
    }
    expect(cost.ms(1)).toBeGreaterThan(48);
    expect(cost.ms(1)).toBeLessThan(65);
    expect(cost.msPerRow).toBeGreaterThan(1.5);
    expect(cost.msPerRow).toBeLessThan(5);
  });

  it('follows a line that has become shorter', () => {
    const cost = new PassCost();
    for (let i = 0; i < 100; i++) cost.add(1 + (i % 3), 100 + (i % 3));
    for (let i = 0; i < 150; i++) cost.add(1 + (i % 3), 5 + (i % 3));
    expect(cost.ms(2)).toBeLessThan(9);
  });
});
