import {
  createReferenceEngine,
  type ExpertDispatch,
  type ForwardEngine,
  type GqaConfig,
  kvPaging,
  loadDenseWeights,
  type ModelConfig,
  type MoeCall,
  parseModelConfig,
  type SequenceCache,
  type TokenQuery,
} from '@shoal/model';
import type { DenseFormat } from '@shoal/weights';
import { afterEach, describe, expect, it } from 'vitest';
import { nmse } from '../../testing/numbers.ts';
import { reader } from '../testing/small-model.ts';
import { openWasmEngine } from './open.ts';

/** Ragged, with two dense layers, and an MTP module, which the family does not have. */
const base = parseModelConfig({
  model_type: 'qwen3_moe',
  architectures: ['Qwen3MoeForCausalLM'],
  vocab_size: 53,
  hidden_size: 42,
  intermediate_size: 37,
  moe_intermediate_size: 9,
  num_hidden_layers: 4,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 10,
  num_experts: 6,
  num_experts_per_tok: 2,
  norm_topk_prob: true,
  decoder_sparse_step: 2,
  mlp_only_layers: [],
  rope_theta: 100,
  max_position_embeddings: 400,
  rms_norm_eps: 1e-5,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  bos_token_id: 0,
  eos_token_id: 0,
});

type Span = ModelConfig['layerAttention'][number]['span'];
const FULL: Span = { kind: 'full' };
const window = (positions: number): Span => ({ kind: 'window', positions });
const chunk = (positions: number): Span => ({ kind: 'chunk', positions });

/** The base config with an MTP module and other choices; `ropeDim` values of a head are rotated. */
function withChoices(
  attention: Partial<GqaConfig>,
  spans: readonly (readonly [Span, rope: boolean])[],
  { ropeDim = 10, ...others }: Partial<ModelConfig> & { ropeDim?: number } = {},
): ModelConfig {
  const { numHiddenLayers, layerKinds } = base;
  return {
    ...base,
    numNextnPredictLayers: 1,
    layerKinds: [...layerKinds, 'moe'],
    layerAttention: Array.from({ length: numHiddenLayers + 1 }, (_, i) => {
      const [span, rope] = spans[i % spans.length]!;
      return { span, rope };
    }),
    attention: { ...(base.attention as GqaConfig), ...attention },
    rope: { ...base.rope, dim: ropeDim, inverseFrequencies: base.rope.inverseFrequencies.slice(0, ropeDim / 2) },
    ...others,
  };
}

const BIASES = { qkv: true, o: true };
/** What the families of 2025 combine, and combinations that none has. */
const MODELS: Record<string, ModelConfig> = {
  'sinks, biases and windows on alternate layers': withChoices(
    { qkNorm: 'none', sinks: true, bias: BIASES },
    [
      [window(19), true],
      [FULL, true],
    ],
    { gate: { ...base.gate, hasLogitBias: true } },
  ),
  'partial RoPE, norms per head, biases of q, k and v, a shared expert': withChoices(
    { bias: { qkv: true, o: false } },
    [[FULL, true]],
    { ropeDim: 6, sharedIntermediateSize: 9 },
  ),
  'chunks, l2 norms, layers without RoPE, weights on the input': withChoices(
    { qkNorm: 'l2', temperature: { floor: 8, scale: 0.1 } },
    [
      [chunk(24), true],
      [chunk(24), true],
      [FULL, false],
    ],
    {
      numExpertsPerTok: 1,
      sharedIntermediateSize: 9,
      gate: { ...base.gate, scoring: 'sigmoid', scalesInput: true, normTopkProb: false },
      rope: { ...base.rope, pairs: 'interleaved' },
    },
  ),
  'factors of embedding, residual and logits, and a bias of o': withChoices(
    { qkNorm: 'none', bias: { qkv: false, o: true }, softmaxScale: 0.3 },
    [[FULL, true]],
    { embeddingMultiplier: 3, residualMultiplier: 0.22, logitsDivisor: 6, sharedIntermediateSize: 9 },
  ),
  'norms after RoPE, a sigmoid gate on the shared expert, windows everywhere': withChoices(
    { normAfterRope: true },
    [[window(33), true]],
    { sharedIntermediateSize: 9, sharedExpertGate: true },
  ),
  'everything at once, windows of one position and of many': withChoices(
    { qkNorm: 'whole', sinks: true, bias: BIASES, clipQkv: 1.5, temperature: { floor: 3, scale: 0.4 } },
    [
      [window(1), true],
      [chunk(17), false],
      [window(390), true],
    ],
    {
      ropeDim: 4,
      embeddingMultiplier: 2,
      residualMultiplier: 0.5,
      logitsDivisor: 4,
      sharedIntermediateSize: 9,
      sharedExpertGate: true,
      gate: { ...base.gate, hasLogitBias: true, hasBias: true },
    },
  ),
};

const open: ForwardEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

async function engineOf(config: ModelConfig, format: DenseFormat, bankBytes?: number) {
  const engine = await openWasmEngine({ config, weights: { reader, format }, threads: 0, kvBytes: 4e6, bankBytes });
  open.push(engine);
  return engine;
}

async function referenceOf(config: ModelConfig): Promise<ForwardEngine> {
  return createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) });
}

/** Experts whose result depends on their rows, numbers and weights. */
const experts: ExpertDispatch = {
  dispatch: ({ x, topkIdx, topkWeights, numRows }: MoeCall) => ({
    combine: async () => {
      const [width, k] = [x.length / numRows, topkIdx.length / numRows];
      return x.map((value, i) => {
        const row = Math.floor(i / width);
        let sum = 0;
        for (let s = row * k; s < (row + 1) * k; s++) sum += topkWeights[s]! * Math.sin(value + topkIdx[s]!);
        return sum;
      });
    },
  }),
};

/** The same with fixed experts for each row, since another choice at nearly equal scores is no error. */
function fixedExperts({ numExpertsPerTok }: ModelConfig): ExpertDispatch {
  const choose = (layer: number, row: number): number[] =>
    Array.from({ length: numExpertsPerTok }, (_, i) => (layer + row + 2 * i) % 6);
  return { ...experts, choose };
}

const tokens = (count: number, seed = 1): number[] => Array.from({ length: count }, (_, i) => (i * 7 + seed) % 53);
const QUERY: TokenQuery = { token: 9, topLogprobs: 2 };

/** Logits, hidden states and a log-probability of some more positions of a sequence. */
async function read(
  engine: ForwardEngine,
  ids: readonly number[],
  cache = engine.newSequence(),
  dispatch: ExpertDispatch = experts,
) {
  const start = cache.length;
  const rows = ids.map((tokenId, i) => ({ tokenId, position: start + i, cache, wantLogits: true, query: QUERY }));
  const { logits, hidden, answers } = await engine.forward(rows, dispatch);
  return { logits: logits.map((row) => [...row!]), hidden, answers, cache };
}

/** Logits of the MTP module at positions whose hidden states are random. */
async function readMtp(engine: ForwardEngine, count: number): Promise<number[]> {
  const cache = engine.newMtpSequence();
  const rows = tokens(count).map((nextTokenId, position) => {
    const hidden = Float32Array.from({ length: base.hiddenSize }, (_, i) => Math.sin(i * 3.7 + position));
    return { hidden, nextTokenId, position, cache, wantLogits: true };
  });
  return (await engine.forwardMtp(rows, fixedExperts(engine.config))).logits.flatMap((row) => [...row!]);
}

describe.each(Object.entries(MODELS))('the wasm engine with %s', (_, config) => {
  it('computes what the reference computes', async () => {
    const ids = tokens(100);
    const reference = await referenceOf(config);
    const expected = await read(reference, ids, undefined, fixedExperts(config));
    const mtp = await readMtp(reference, 60);
    for (const [format, bound] of [
      ['f32', 1e-6],
      ['f16', 1e-5],
    ] as const) {
      const engine = await engineOf(config, format);
      const got = await read(engine, ids, undefined, fixedExperts(config));
      expect(nmse(got.logits.flat(), expected.logits.flat())).toBeLessThan(bound);
      expect(nmse(got.hidden, expected.hidden)).toBeLessThan(bound);
      const logprobs = [got, expected].map(({ answers }) =>
        answers.map((answer) => (answer as { logprob: number }).logprob),
      );
      expect(nmse(logprobs[0]!, logprobs[1]!)).toBeLessThan(bound);
      expect(nmse(await readMtp(engine, 60), mtp)).toBeLessThan(bound);
    }
  });

  it('gives a row the same bits alone and beside others, in one piece and in many, in one memory and in several', async () => {
    const ids = tokens(90);
    const engine = await engineOf(config, 'q8');
    const whole = await read(engine, ids);
    // A page of one layer takes as much of a bank as a page of all.
    const several = await engineOf(config, 'q8', kvPaging(config).layersPerPage === 1 ? 5_300_000 : 4_300_000);
    expect(several.memory.banks.length).toBeGreaterThan(1);
    expect((await read(several, ids)).logits).toEqual(whole.logits);
    const [a, b]: SequenceCache[] = [engine.newSequence(), engine.newSequence()];
    const pieces: number[][] = [];
    for (let at = 0; at < ids.length; at += 7) {
      const rows = [
        ...ids.slice(at, at + 7).map((tokenId, i) => ({ tokenId, position: at + i, cache: a!, wantLogits: true })),
        ...tokens(3, at).map((tokenId, i) => ({ tokenId, position: b!.length + i, cache: b! })),
      ];
      const { logits } = await engine.forward(rows, experts);
      pieces.push(...logits.flatMap((row) => (row ? [[...row]] : [])));
    }
    expect(pieces).toEqual(whole.logits);
  });

  it('goes on from a common beginning with the same bits', async () => {
    const engine = await engineOf(config, 'q8');
    const first = engine.newSequence();
    await read(engine, tokens(70), first);
    const alone = await read(engine, [...tokens(64), ...tokens(20, 30)]);
    const shared = first.fork(69);
    expect(shared.length).toBe(64);
    expect((await read(engine, tokens(20, 30), shared)).logits).toEqual(alone.logits.slice(64));
    first.truncate(66);
    const again = await read(engine, tokens(9, 5), first);
    expect(again.logits).toEqual((await read(engine, [...tokens(66), ...tokens(9, 5)])).logits.slice(66));
  });
});
