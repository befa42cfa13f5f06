import { createRng, normalDraw } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { PassCosts } from '../batch/pass-costs.ts';
import { reachOf } from './acceptance.ts';
import { chooseDepths } from './depth.ts';
import { StreamSpeculation } from './stream.ts';
import { newTextExperience, TextDrafter } from './text-drafter.ts';
import { aloneInFlight } from '../testing/pass-times.ts';

/** Costs of rows and drafts, with noise, and the streams' acceptance rates: tests the learned choice of depths. */
interface World {
  streams: number;
  passMs: number;
  rowMs: number;
  draftMs: number;
  rates: readonly number[];
  /** How much longer the first pass and the first drafting call take: code is compiled, experts are read. */
  cold?: number;
  /** Rows of each prompt; 40 by default. */
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
  const costs = new PassCosts();
  const addPass = (rows: number, promptRows: number, ms: number): void =>
    costs.add(aloneInFlight({ rows, promptRows, ms }));
  const priors = [0.85, 0.85, 0.85, 0.85];
  const text = new TextDrafter([], newTextExperience());
  const states = Array.from(
    { length: streams },
    () => new StreamSpeculation({ text, lapsPerPass: 5, drafter: undefined }),
  );
  for (let prompts = 0; prompts < streams; prompts++) {
    addPass(promptRows, promptRows, took(passMs + promptRows * rowMs) * (prompts === 0 ? cold : 1));
  }
  let calls = 0;
  let depths = states.map(() => 0);
  let [tokens, ms] = [0, 0];
  const depthOf: number[] = [];
  for (let pass = 0; pass < 150; pass++) {
    depthOf.push(depths[0]!);
    const rows = depths.reduce((sum, depth) => sum + 1 + depth, 0);
    const spentMs = took(passMs + rows * rowMs);
    addPass(rows, 0, spentMs);
    ms += spentMs;
    for (const [i, state] of states.entries()) {
      let accepted = 0;
      while (accepted < depths[i]! && rng() < rates[accepted]!) accepted++;
      state.acceptance.judge(depths[i]!, accepted);
      tokens += 1 + accepted;
    }
    const callCosts = [1, 2, 3, 4].map((depth) => costs.draftCall(depth));
    const { depths: best } = chooseDepths(
      states.map(({ acceptance }) => {
        const reach = reachOf(acceptance.rates(priors));
        return { maxDrafts: 4, isDrafted: false, reach: (depth) => reach[depth - 1]! };
      }),
      {
        passMs: costs.passMs(streams),
        msPerRow: costs.rowMs,
        callMs: (depth) => callCosts[depth - 1]!.ms,
        msPerDraft: (depth) => callCosts[depth - 1]!.msPerStream,
      },
    );
    depths = states.map(
      (state, i) => fixedDepth ?? state.probed(best[i]!, 4, { isGuess: costs.isRowGuess, isAffordable: true }),
    );
    for (let call = 0; call < Math.max(...depths); call++) {
      const callMs = took(draftMs) * (calls++ === 0 ? cold : 1);
      costs.addDraftCall(call === 0 ? 'first' : 'deeper', { streams, rows: streams, ms: callMs });
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

describe('the first answer of a cold scheduler', () => {
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
