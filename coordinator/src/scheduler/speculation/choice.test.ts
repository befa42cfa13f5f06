import { describe, expect, it } from 'vitest';
import { type FixedChoice, runDrafting } from '../testing/drafting-run.ts';
import { WORLD_COSTS, WORLD_TEXTS, type WorldTextName } from '../testing/drafting-worlds.ts';

/** Tokens a second in a world on virtual time; by measured acceptance and cost, or by a fixed choice. */
async function tokensPerS(
  [roundTripMs, streams, text]: readonly [number, number, WorldTextName],
  fixed?: FixedChoice,
): Promise<number> {
  const costs = { ...WORLD_COSTS, roundTripMs };
  const size = streams === 1 ? { tokens: 120, answers: 4 } : { tokens: 48, answers: 3 };
  return (await runDrafting({ costs, text: WORLD_TEXTS[text], streams, ...size, seed: 1, fixed })).tokensPerS;
}

const NOTHING: FixedChoice = { by: 'nothing', drafts: 0 };

/** A small part of `npm run bench choice`. */
describe('the choice of drafts', () => {
  it.each([
    [20, 1, 'easy', { by: 'chain', drafts: 16 }],
    [20, 1, 'one step', { by: 'tree', drafts: 16 }],
    [0, 1, 'repeats', { by: 'texts', drafts: 32 }],
    [20, 16, 'easy', { by: 'chain', drafts: 16 }],
  ] as const)(
    'at %i ms with %i streams of %s text is as good as the best fixed one',
    async (roundTripMs, streams, text, fixed) => {
      const cell = [roundTripMs, streams, text] as const;
      expect(await tokensPerS(cell)).toBeGreaterThan(0.93 * (await tokensPerS(cell, fixed)));
    },
  );

  it.each([
    [0, 32, 'easy'],
    [0, 64, 'hopeless'],
    [0, 1, 'hopeless'],
  ] as const)('at %i ms with %i streams of %s text costs next to nothing', async (...cell) => {
    expect(await tokensPerS(cell)).toBeGreaterThan(0.92 * (await tokensPerS(cell, NOTHING)));
  });
});
