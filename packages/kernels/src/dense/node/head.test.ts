import {
  answerQuery,
  createReferenceEngine,
  type EngineRow,
  type ExpertDispatch,
  type ForwardEngine,
  type ForwardObserver,
  loadDenseWeights,
  type LogitChanges,
  ModelError,
  type TokenMask,
  type TokenQuery,
} from '@shoal/model';
import { afterEach, describe, expect, it } from 'vitest';
import { config, experts, reader } from '../testing/small-model.ts';
import type { WasmEngine } from '../wasm-engine.ts';
import { openWasmEngine } from './open.ts';

const open: ForwardEngine[] = [];
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
  const changes = i % 3 === 0 ? undefined : changesOf(i);
  const minP = i % 7 === 0 ? 0.2 : 0;
  const uniform = ((i * 37) % 41) / 41;
  return { token: { ...token, minP, uniform, changes }, topLogprobs: i % 2 === 0 ? i % 21 : undefined };
});

function changesOf(i: number): LogitChanges {
  const seen = Int32Array.from({ length: 2 * (i % 9) }, (_, at) => (at % 2 === 0 ? (i + at) % 53 : at % 3));
  const penalties = { repetition: 1 + (i % 4) / 8, frequency: (i % 5) / 4 - 0.5, presence: 0.3, seen };
  return {
    penalties,
    biases:
      i % 2 === 0
        ? new Map([
            [i, 1.5],
            [(i + 9) % 53, Number.NEGATIVE_INFINITY],
          ])
        : undefined,
  };
}

/** Masks of about half of the tokens, for some rows. */
const MASKS: (TokenMask | undefined)[] = QUERYES.map((_, i) =>
  i % 4 === 1 ? Uint32Array.of(0x5a5a5a5a ^ (i * 77_777), 0x00133331 ^ i) : undefined,
);

const SEVERAL_BANKS = { threads: 2, bankBytes: 4_000_000, kvBytes: 3_000_000 };

const rowsOf = (engine: WasmEngine, wantLogits = false): EngineRow[] => {
  const cache = engine.newSequence();
  return QUERYES.map((query, position) => {
    const mask = position % 8 === 1 ? MASKS[position] : Promise.resolve(MASKS[position]);
    return { tokenId: (position * 7 + 1) % 53, position, cache, wantLogits, query, mask };
  });
};

describe('the head of the wasm engine', () => {
  it('answers each query from the row’s own logits, which need not come along', async () => {
    const engine = await engineWith();
    const { logits, answers } = await engine.forward(rowsOf(engine, true), experts);
    for (const [r, query] of QUERYES.entries()) {
      const want = query && answerQuery(logits[r]!, query, MASKS[r]);
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

  it('refuses a row that is damaged, naming where, and no other', async () => {
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
    expect((answers[17] as ModelError).message).toMatch(/the sum of experts \d, \d of layer 3 is NaN/);
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

  it('makes room for long lists of tokens, and for short ones again', async () => {
    const engine = await engineWith({ threads: 2 });
    const vocab = Array.from({ length: 53 }, (_, id) => id);
    const changes: LogitChanges = {
      biases: new Map(vocab.map((id) => [id, (id * 7) % 5])),
      penalties: {
        repetition: 1.2,
        frequency: 0.1,
        presence: 0.1,
        seen: Int32Array.from(vocab.flatMap((id) => [id, 2])),
      },
    };
    const query = { token: { temperature: 1, topP: 0.9, uniform: 0.3, changes } };
    const cache = engine.newSequence();
    const rows = Array.from({ length: 40 }, (_, position) => ({
      tokenId: 1,
      position,
      cache,
      query,
      wantLogits: true,
    }));
    const bytes = () => engine.memory.workspacesOf(0).reduce((sum, { bytes: each }) => sum + each, 0);
    await engine.forward(rows.slice(0, 1), experts);
    const before = bytes();
    cache.truncate(0);
    const { logits, answers } = await engine.forward(rows, experts);
    expect(answers).toEqual(logits.map((row) => answerQuery(row!, query)));
    // 16 rows of two lists of 53 entries of two words, and a quarter more for the next time.
    expect(bytes() - before).toBeGreaterThanOrEqual((16 * 2 * 53 * 2 * 1.25 - 1024) * 4 - 64);
    expect(bytes() - before).toBeLessThan(16 * 2 * 53 * 2 * 1.25 * 4);
    const seen = new Int32Array(54 * 2);
    const tooMany = { token: { ...query.token, changes: { penalties: { ...changes.penalties!, seen } } } };
    const row = { tokenId: 1, position: 40, cache, query: tooMany };
    await expect(engine.forward([row], experts)).rejects.toThrow('the vocabulary has 53');
  });
});

describe.each(['wasm', 'reference'] as const)('a mask that comes late, in the %s engine', (name) => {
  async function anyEngine(): Promise<ForwardEngine> {
    if (name === 'wasm') return engineWith({ threads: 2 });
    return createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) });
  }

  const query: TokenQuery = { token: { temperature: 0, topP: 1, uniform: 0 } };
  const rowsWith = (engine: ForwardEngine, masks: readonly EngineRow['mask'][]): EngineRow[] =>
    masks.map((mask, i) => ({ tokenId: i + 1, position: 0, cache: engine.newSequence(), query, mask }));

  it('is awaited only after the last lap, and then drawn by', async () => {
    const engine = await anyEngine();
    let decide: (mask: TokenMask) => void = () => {};
    const mask = new Promise<TokenMask>((resolve) => (decide = resolve));
    const calls: string[] = [];
    const last = config.numHiddenLayers - 1;
    const noting: ExpertDispatch = {
      dispatch: ({ layer, x }) => ({
        combine: async () => {
          calls.push(`lap ${layer}`);
          return x.map((value) => value / 2);
        },
      }),
    };
    const observe: ForwardObserver = {
      awaitsMasks: () => {
        calls.push('masks');
        setTimeout(() => decide(Uint32Array.of(0, 1 << 9)));
      },
      waits: (layer) => void calls.push(`waits ${layer}`),
      resumes: (layer) => void calls.push(`resumes ${layer}`),
    };
    const { answers } = await engine.forward(rowsWith(engine, [undefined, mask]), noting, observe);
    const seen = calls.slice(calls.indexOf('masks'));
    expect(seen).toEqual(['masks', `waits ${last}`, `resumes ${last}`]);
    expect(calls).toContain(`lap ${last}`);
    expect(answers[1]).toEqual({ tokenId: 41 });
    expect(answers[0]).not.toEqual({ tokenId: 41 });
  });

  it('and is rejected, is too short or allows nothing, fails its own row only', async () => {
    const engine = await anyEngine();
    const failure = new Error('no automaton');
    const masks = [
      undefined,
      Promise.reject(failure),
      Promise.resolve(Uint32Array.of(1)),
      new Uint32Array(2),
      undefined,
    ];
    const { answers } = await engine.forward(rowsWith(engine, masks), experts);
    const { answers: whole } = await engine.forward(
      rowsWith(
        engine,
        masks.map(() => undefined),
      ),
      experts,
    );
    expect([answers[0], answers[4]]).toEqual([whole[0], whole[4]]);
    expect(answers[1]).toBe(failure);
    expect((answers[2] as Error).message).toBe('a mask of 1 words; 53 tokens need 2');
    expect((answers[3] as Error).message).toMatch(/no token may be drawn/);
  });

  it('and is rejected after the pass has failed, troubles nobody', async () => {
    const engine = await anyEngine();
    const mask = new Promise<TokenMask>((_, reject) => setTimeout(() => reject(new Error('no automaton')), 5));
    const failing = { dispatch: () => ({ combine: () => Promise.reject(new Error('no shard')) }) };
    const rows = rowsWith(engine, [mask]);
    await expect(engine.forward(rows, failing)).rejects.toThrow('no shard');
    // An unhandled rejection would fail the run.
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(rows[0]!.cache.length).toBe(0);
  });
});
