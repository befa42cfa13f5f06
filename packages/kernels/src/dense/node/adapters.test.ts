import {
  type Adapter,
  AdapterError,
  type AdapterLayer,
  createReferenceEngine,
  createRng,
  type EngineAdapter,
  type ForwardEngine,
  loadDenseWeights,
  type LowRank,
  type ModelConfig,
  normalDraw,
} from '@shoal/model';
import { afterEach, describe, expect, it } from 'vitest';
import { nmse } from '../../testing/numbers.ts';
import { config, experts, gqa, reader } from '../testing/small-model.ts';
import { openWasmEngine } from './open.ts';

const engines: ForwardEngine[] = [];
afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

async function open(model: ModelConfig, options: { threads?: number; bankBytes?: number; adapterBytes?: number }) {
  const weights = { reader, format: 'f32' as const };
  const engine = await openWasmEngine({
    config: model,
    weights,
    kvBytes: 4_000_000,
    adapterBytes: 2 ** 20,
    ...options,
  });
  engines.push(engine);
  return engine;
}

/** A random adapter of attention's projections and the gate, in all layers. */
function randomAdapter(model: ModelConfig, rank: number, seed: number): Adapter {
  const rng = createRng(seed);
  const normal = (length: number): Float32Array => Float32Array.from({ length }, () => 0.3 * normalDraw(rng));
  const lowRank = (outDim: number, inDim: number): LowRank => {
    return { rank, inDim, outDim, a: normal(rank * inDim), b: normal(outDim * rank) };
  };
  const { attention, hiddenSize } = model;
  const layer = (): AdapterLayer => {
    const moeGate = lowRank(model.nRoutedExperts, hiddenSize);
    if (attention.kind === 'gqa') {
      const { numAttentionHeads: heads, numKeyValueHeads: keyHeads, headDim } = attention;
      return {
        moeGate,
        q: lowRank(heads * headDim, hiddenSize),
        k: lowRank(keyHeads * headDim, hiddenSize),
        v: lowRank(keyHeads * headDim, hiddenSize),
        o: lowRank(hiddenSize, heads * headDim),
      };
    }
    const {
      numAttentionHeads: heads,
      kvLoraRank,
      qkNopeHeadDim: nope,
      qkRopeHeadDim: rope,
      vHeadDim,
      qLoraRank,
    } = attention;
    return {
      qA: lowRank(qLoraRank!, hiddenSize),
      qB: lowRank(heads * (nope + rope), qLoraRank!),
      kvA: lowRank(kvLoraRank + rope, hiddenSize),
      kvB: lowRank(heads * (nope + vHeadDim), kvLoraRank),
      o: lowRank(hiddenSize, heads * vHeadDim),
    };
  };
  const layers = Array.from({ length: model.numHiddenLayers }, layer);
  const matrices = layers.flatMap((one) => Object.values(one));
  const bytes = matrices.reduce((sum, { a, b }) => sum + a.byteLength + b.byteLength, 0);
  return { layers, experts: new Map(), maxRank: rank, bytes, expertBytes: 0 };
}

/** Logits of a text under an adapter. */
async function logitsOf(engine: ForwardEngine, adapter: EngineAdapter | undefined): Promise<number[]> {
  const cache = engine.newSequence();
  const rows = Array.from({ length: 21 }, (_, i) => {
    return { tokenId: (i * 7) % 53, position: i, cache, adapter, wantLogits: true };
  });
  const { logits } = await engine.forward(rows, experts);
  cache.free();
  return logits.flatMap((row) => [...row!]);
}

describe.each([
  ['MLA', config],
  ['GQA', gqa],
])('adapters of a model with %s', (_, model) => {
  it('compute what the reference computes, with the same bits from several memories and on any number of threads', async () => {
    const adapter = randomAdapter(model, 5, 3);
    const reference = createReferenceEngine({ config: model, weights: await loadDenseWeights(model, reader) });
    const expected = await logitsOf(reference, reference.openAdapter(adapter));
    const one = await open(model, { threads: 2 });
    const logits = await logitsOf(one, one.openAdapter(adapter));
    expect(nmse(logits, expected)).toBeLessThan(1e-6);
    const bankBytes = model === config ? 3_500_000 : 3_000_000;
    const several = await open(model, { threads: 0, bankBytes });
    expect(several.memory.banks.length).toBeGreaterThan(1);
    expect(await logitsOf(several, several.openAdapter(adapter))).toEqual(logits);
    expect(await logitsOf(several, undefined)).toEqual(await logitsOf(one, undefined));
  });
});

describe('memory for adapters', () => {
  it('holds as many as fit, and takes others where some were freed, with their own results', async () => {
    const small = randomAdapter(gqa, 2, 5);
    const large = randomAdapter(gqa, 4, 7);
    const engine = await open(gqa, { threads: 0, adapterBytes: 100_000 });
    const expected = new Map<Adapter, number[]>();
    for (const adapter of [small, large]) {
      const opened = engine.openAdapter(adapter);
      expected.set(adapter, await logitsOf(engine, opened));
      opened.free();
    }
    const rng = createRng(17);
    const held: { adapter: Adapter; opened: EngineAdapter }[] = [];
    const refused: unknown[] = [];
    for (let step = 0; step < 60; step++) {
      const adapter = rng() < 0.5 ? small : large;
      try {
        held.push({ adapter, opened: engine.openAdapter(adapter) });
      } catch (error) {
        refused.push(error);
        held.splice(Math.floor(rng() * held.length), 1)[0]!.opened.free();
      }
    }
    expect(refused.length).toBeGreaterThan(10);
    for (const error of refused) expect(error).toBeInstanceOf(AdapterError);
    for (const { adapter, opened } of held) {
      expect(await logitsOf(engine, opened)).toEqual(expected.get(adapter));
      opened.free();
    }
    await expect(logitsOf(engine, held[0]!.opened)).rejects.toThrow(/was freed/);
  });

  it('is none unless it is asked for', async () => {
    const engine = await open(gqa, { threads: 0, adapterBytes: 0 });
    expect(() => engine.openAdapter(randomAdapter(gqa, 1, 1))).toThrow(/--adapter-memory/);
  });
});

it('tokenEmbedding gives the bits that the reference has in f32, and a RangeError for others', async () => {
  const engine = await open(config, { threads: 0 });
  const reference = createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) });
  for (const id of [0, 5, config.vocabSize - 1]) {
    expect(engine.tokenEmbedding(id)).toEqual(reference.tokenEmbedding(id));
  }
  for (const one of [engine, reference]) expect(() => one.tokenEmbedding(config.vocabSize)).toThrow(RangeError);
});
