import { createRng, type ExpertDispatch, type ForwardEngine, parseModelConfig } from '@shoal/model';
import { beforeEach, describe, expect, it } from 'vitest';
import type { GenerationRequest } from './contract.ts';
import { Engine, type EngineLimits } from './engine.ts';

const VOCAB = 31;
const config = parseModelConfig({
  model_type: 'deepseek_v3',
  architectures: ['DeepseekV3ForCausalLM'],
  vocab_size: VOCAB,
  hidden_size: 1,
  intermediate_size: 1,
  moe_intermediate_size: 1,
  num_hidden_layers: 2,
  first_k_dense_replace: 0,
  num_attention_heads: 1,
  q_lora_rank: null,
  kv_lora_rank: 1,
  qk_nope_head_dim: 1,
  qk_rope_head_dim: 2,
  v_head_dim: 1,
  n_routed_experts: 1,
  n_shared_experts: null,
  num_experts_per_tok: 1,
  n_group: 1,
  topk_group: 1,
  topk_method: 'noaux_tc',
  scoring_func: 'sigmoid',
  norm_topk_prob: true,
  routed_scaling_factor: 1,
  rope_theta: 100,
  max_position_embeddings: 200,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: true,
  num_nextn_predict_layers: 0,
  bos_token_id: 0,
  eos_token_id: VOCAB - 1,
});

class Cache {
  length = 0;
  allocatedBytes = 0;
  isInPass = false;
  truncate(length: number): void {
    this.length = length;
  }
  free(): void {
    expect(this.isInPass).toBe(false);
    this.length = -1;
  }
}

/** The token that follows one at a position, in a model whose arithmetic is this line. */
const next = (tokenId: number, position: number): number => (tokenId * 7 + position * 3 + 1) % (VOCAB - 1);

function expected(promptIds: readonly number[], count: number): number[] {
  const ids = [...promptIds];
  while (ids.length < promptIds.length + count) ids.push(next(ids.at(-1)!, ids.length - 1));
  return ids.slice(promptIds.length);
}

/** Two layers that do nothing but wait for their laps; fails a test that has a sequence in two passes, or out of order. */
const forward: ForwardEngine = {
  name: 'reference',
  config,
  kvBytesPerToken: 1,
  mtpKvBytesPerToken: 0,
  lendPages: () => undefined,
  sequenceOn: () => new Cache(),
  mtpSequenceOn: () => new Cache(),
  expertNormGain: () => new Float32Array(1),
  newSequence: () => new Cache(),
  newMtpSequence: () => new Cache(),
  async forward(rows, experts, observe = {}) {
    const caches = new Set(rows.map(({ cache }) => cache as Cache));
    for (const cache of caches) {
      expect(cache.isInPass).toBe(false);
      cache.isInPass = true;
    }
    for (const { cache, position } of rows) expect((cache as Cache).length++).toBe(position);
    try {
      for (let layer = 0; layer < 2; layer++) {
        const numRows = rows.length;
        const [x, topkWeights] = [new Float32Array(numRows), new Float32Array(numRows)];
        const handle = experts.dispatch({ layer, numRows, x, topkIdx: new Uint16Array(numRows), topkWeights });
        observe.waits?.(layer);
        await handle.combine();
        observe.resumes?.(layer);
      }
    } finally {
      for (const cache of caches) cache.isInPass = false;
    }
    const logits = rows.map(({ tokenId, position, wantLogits }) =>
      wantLogits ? new Float32Array(VOCAB).fill(1, next(tokenId, position), next(tokenId, position) + 1) : undefined,
    );
    return { logits, hidden: new Float32Array(rows.length), preNormHidden: new Float32Array(rows.length) };
  },
  forwardMtp: () => Promise.reject(new Error('no MTP module')),
  close: async () => {},
};

interface Lap {
  layer: number;
  rows: number;
  answer: () => void;
  fail: (error: Error) => void;
}

/** Laps that are out, oldest first; each comes back when told. */
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

const engine = (limits: Partial<EngineLimits>): Engine =>
  new Engine({ modelId: 'small', forward, experts, limits: { lanes: 2, ...limits } });

function submit(shoal: Engine, promptIds: readonly number[], maxTokens: number): Promise<number[]> {
  const { signal } = new AbortController();
  const base: GenerationRequest = { id: '', promptIds, maxTokens, temperature: 0, topP: 1, seed: 1, signal };
  const stream = shoal.submit(base);
  return (async () => {
    const ids: number[] = [];
    for await (const event of stream) if (event.type === 'token') ids.push(event.token.tokenId);
    return ids;
  })();
}

/** Everything that can go on without a lap has gone on. */
const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
};

const rowsOut = (): number[] => laps.map(({ rows }) => rows);

async function answerAll(): Promise<void> {
  for (const lap of laps.splice(0)) lap.answer();
  await settle();
}

describe('two lanes', () => {
  it('have half of the rows each in flight, of different sequences', async () => {
    const shoal = engine({});
    const answers = Array.from({ length: 16 }, (_, i) => submit(shoal, [i], 3));
    await settle();
    // One row of each prompt.
    expect(rowsOut()).toEqual([8, 8]);
    expect([shoal.lanes, shoal.occupancy.passes]).toEqual([2, 2]);
    while (laps.length > 0) {
      expect(rowsOut()).toEqual([8, 8]);
      await answerAll();
    }
    for (const [i, answer] of answers.entries()) expect(await answer).toEqual(expected([i], 3));
    expect([shoal.passes, shoal.rows]).toEqual([6, 48]);
    expect(shoal.occupancy.passes).toBe(0);
  });

  it('are one where two were forbidden: a pass has all rows, and nothing else is in flight', async () => {
    const shoal = engine({ lanes: 1 });
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
    const shoal = engine({});
    const answers = Array.from({ length: 4 }, (_, i) => submit(shoal, [i], 5));
    await settle();
    const [hangs] = laps.splice(0, 1);
    while (laps.length > 0) await answerAll();
    const done = shoal.running.filter(({ finished }) => finished);
    expect([done.length, shoal.running.length]).toEqual([0, 2]);
    hangs!.answer();
    await settle();
    // Its half goes on in two lanes now.
    expect(laps.length).toBeGreaterThan(0);
    while (laps.length > 0) await answerAll();
    for (const [i, answer] of answers.entries()) expect(await answer).toEqual(expected([i], 5));
  });

  it('let a new prompt begin while the laps of others are out', async () => {
    const shoal = engine({});
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
    const shoal = engine({});
    const answers = Array.from({ length: 6 }, (_, i) => submit(shoal, [i], i < 3 ? 1 : 12));
    for (let round = 0; round < 8; round++) {
      await settle();
      await answerAll();
    }
    // Three have ended, all of one lane's or not: those left are shared again.
    expect(rowsOut().sort()).toEqual([1, 2]);
    while (laps.length > 0) await answerAll();
    await Promise.all(answers);
  });

  it('fail apart', async () => {
    const shoal = engine({});
    const answers = Array.from({ length: 4 }, (_, i) => submit(shoal, [i], 3).catch((error: Error) => error.message));
    await settle();
    laps.shift()!.fail(new Error('no shard'));
    while (laps.length > 0) await answerAll();
    const ends = await Promise.all(answers);
    expect(ends.filter((end) => typeof end === 'string')).toHaveLength(2);
    for (const [i, end] of ends.entries()) if (typeof end !== 'string') expect(end).toEqual(expected([i], 3));
  });

  it('mix prompt rows with decoding ones, in bounded pieces, and none is left behind', async () => {
    const shoal = engine({ prefillRows: 16 });
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
    // 36 rows in all: 4 that decode, two prompts with pieces of 16.
    expect(seen).toContain(18);
    expect(Math.max(...seen)).toBeLessThanOrEqual(20);
    for (const [i, answer] of decoding.entries()) expect(await answer).toEqual(expected([i], 40));
    for (const [p, answer] of long.entries()) expect(await answer).toEqual(expected(prompts[p]!, 2));
  });

  it('give everybody the tokens of its own, in whatever order laps come back and requests come in', async () => {
    for (const seed of [1, 2, 3]) {
      const rng = createRng(seed);
      const below = (limit: number): number => Math.floor(rng() * limit);
      const shoal = engine({ maxBatch: 6, prefillRows: 7 });
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
    const shoal = engine({});
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
