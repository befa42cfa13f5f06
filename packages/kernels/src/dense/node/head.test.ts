import { answerQuery, type EngineRow, ModelError, type TokenQuery } from '@shoal/model';
import { afterEach, describe, expect, it } from 'vitest';
import { config, experts, reader } from '../testing/small-model.ts';
import type { WasmEngine } from '../wasm-engine.ts';
import { openWasmEngine } from './open.ts';

const open: WasmEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

async function engineWith(
  options: { threads?: number; bankBytes?: number; kvBytes?: number } = {},
): Promise<WasmEngine> {
  const engine = await openWasmEngine({ config, weights: { reader, format: 'f32' }, ...options });
  open.push(engine);
  return engine;
}

/** Every kind of query, and rows without one; more than the head computes at a time. */
const QUERYES: (TokenQuery | undefined)[] = Array.from({ length: 41 }, (_, i) => {
  if (i % 8 === 5) return undefined;
  if (i % 8 === 6) return { token: i, topLogprobs: i % 3 };
  const token = { temperature: [0, 1, 0.6][i % 3]!, topP: i % 4 === 0 ? 0.8 : 1, topK: i % 5 === 0 ? 7 : 0 };
  return { token: { ...token, uniform: ((i * 37) % 41) / 41 }, topLogprobs: i % 2 === 0 ? i % 21 : undefined };
});

const SEVERAL_BANKS = { threads: 2, bankBytes: 4_000_000, kvBytes: 3_000_000 };

const rowsOf = (engine: WasmEngine, wantLogits = false): EngineRow[] => {
  const cache = engine.newSequence();
  return QUERYES.map((query, position) => ({ tokenId: (position * 7 + 1) % 53, position, cache, wantLogits, query }));
};

describe('the head of the wasm engine', () => {
  it('answers each query from the row’s own logits, which need not come along', async () => {
    const engine = await engineWith();
    const { logits, answers } = await engine.forward(rowsOf(engine, true), experts);
    for (const [r, query] of QUERYES.entries()) {
      const want = query && answerQuery(logits[r]!, query);
      const got = answers[r];
      if (!want || want instanceof Error) expect(got).toBe(want);
      else {
        expect(got).toMatchObject({ tokenId: want.tokenId });
        const { logprob, topLogprobs = [] } = got as typeof want;
        expect(logprob === undefined).toBe(want.logprob === undefined);
        if (logprob !== undefined) expect(logprob).toBeCloseTo(want.logprob!, 10);
        expect(topLogprobs.map(({ tokenId }) => tokenId)).toEqual(
          (want.topLogprobs ?? []).map(({ tokenId }) => tokenId),
        );
      }
    }
    const without = await engine.forward(rowsOf(engine), experts);
    expect(without.answers).toEqual(answers);
    expect(without.logits.every((row) => row === undefined)).toBe(true);
  });

  it('gives a row the same bits alone and beside others, on any number of threads, in any bank', async () => {
    const inline = await engineWith({ threads: 0 });
    const { answers } = await inline.forward(rowsOf(inline), experts);
    for (const options of [{ threads: 1 }, { threads: 3 }, SEVERAL_BANKS]) {
      const engine = await engineWith(options);
      expect(engine.memory.banks.length > 1).toBe(options === SEVERAL_BANKS);
      expect((await engine.forward(rowsOf(engine), experts)).answers).toEqual(answers);
    }
    const rows = rowsOf(inline);
    for (const [r, row] of rows.entries()) {
      const alone = await inline.forward([row], experts);
      expect(alone.answers).toEqual([answers[r]]);
    }
  });

  it('refuses a row whose logits are damaged, and no other', async () => {
    const engine = await engineWith({ threads: 2 });
    const query: TokenQuery = { token: { temperature: 1, topP: 1, uniform: 0.5 }, topLogprobs: 2 };
    const rows = Array.from({ length: 20 }, (_, i) => {
      return { tokenId: i, position: 0, cache: engine.newSequence(), query };
    });
    const damaging = {
      dispatch: ({ layer, x }: { layer: number; x: Float32Array }) => ({
        combine: async () => {
          const sum = x.map((value) => value / 2);
          if (layer === 3) sum.fill(Number.NaN, 17 * config.hiddenSize, 18 * config.hiddenSize);
          return sum;
        },
      }),
    };
    const whole = await engine.forward(rows, experts);
    for (const { cache } of rows) cache.truncate(0);
    const { answers } = await engine.forward(rows, damaging);
    expect(answers[17]).toBeInstanceOf(ModelError);
    expect((answers[17] as ModelError).message).toContain('logits hold NaN at token 0');
    expect(answers.toSpliced(17, 1)).toEqual(whole.answers.toSpliced(17, 1));
  });

  it.each([[{ token: 53 }], [{ token: -1 }], [{ token: 1, topLogprobs: 21 }]])(
    'refuses %j before anything changes',
    async (query) => {
      const engine = await engineWith({ threads: 0 });
      const cache = engine.newSequence();
      const row = { tokenId: 1, position: 0, cache, query };
      await expect(engine.forward([row], experts)).rejects.toThrow(RangeError);
      expect(cache.length).toBe(0);
    },
  );
});
