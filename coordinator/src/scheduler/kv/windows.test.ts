import { openWasmEngine } from '@shoal/kernels/node';
import {
  createRng,
  type ExpertDispatch,
  type ForwardEngine,
  kvPaging,
  type ModelConfig,
  parseModelConfig,
} from '@shoal/model';
import { afterEach, expect, it } from 'vitest';
import { smallConfigJson } from '../testing/small-config.ts';
import { KvPages } from './kv-pages.ts';

const plain = parseModelConfig(smallConfigJson);
const window = { span: { kind: 'window', positions: 19 }, rope: true } as const;
const full = { span: { kind: 'full' }, rope: true } as const;

/** Grouped-query attention; `layers` of the four have a window. */
function configOf(layers: readonly number[]): ModelConfig {
  return {
    ...plain,
    vocabSize: 53,
    hiddenSize: 42,
    numHiddenLayers: 4,
    layerKinds: ['dense', 'dense', 'dense', 'dense'],
    layerAttention: [0, 1, 2, 3].map((layer) => (layers.includes(layer) ? window : full)),
    attention: {
      kind: 'gqa',
      numAttentionHeads: 4,
      numKeyValueHeads: 2,
      headDim: plain.rope.dim,
      qkNorm: 'none',
      normAfterRope: false,
      bias: { qkv: false, o: false },
      sinks: false,
      temperature: null,
      clipQkv: null,
      softmaxScale: 0.5,
    },
    numNextnPredictLayers: 0,
    maxPositionEmbeddings: 1000,
  };
}

const open: ForwardEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

async function engineOf(config: ModelConfig, kvBytes: number): Promise<ForwardEngine> {
  const read = async ({ name, shape }: { name: string; shape: readonly number[] }): Promise<Float32Array> => {
    const rng = createRng([...name].reduce((hash, char) => (hash * 31 + char.charCodeAt(0)) % 99_991, 7));
    const bias = name.includes('norm') ? 1 : 0;
    return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => bias + (rng() - 0.5) * 0.7);
  };
  const engine = await openWasmEngine({ config, weights: { reader: { read }, format: 'q8' }, threads: 0, kvBytes });
  open.push(engine);
  return engine;
}

const noExperts: ExpertDispatch = { dispatch: () => expect.fail('no layer has experts') };
const tokens = (count: number, seed = 1): number[] => Array.from({ length: count }, (_, i) => (i * 7 + seed) % 53);

async function logitsOf(engine: ForwardEngine, cache: ReturnType<ForwardEngine['newSequence']>, ids: number[]) {
  const rows = ids.map((tokenId, i) => ({ tokenId, position: cache.length + i, cache, wantLogits: true }));
  return (await engine.forward(rows, noExperts)).logits.map((row) => [...row!]);
}

it.each([
  ['alternate layers', [0, 2], 2],
  ['three of four layers', [0, 1, 3], 4],
  ['all layers', [0, 1, 2, 3], 1],
])(
  'windows of %s give back pages and change no bit: in pieces, with drafts, from a common beginning',
  async (_, layers, tables) => {
    const config = configOf(layers);
    const whole = await engineOf(config, 2 ** 20);
    const engine = await engineOf(config, 2 ** 20);
    const pages = new KvPages({ ...engine.lendPages()!, maxRows: 24 });
    const run = async (ids: number[]): Promise<{ reused: number; held: number }> => {
      const expected = await logitsOf(whole, whole.newSequence(), ids);
      const sequence = pages.open(ids, ids.length + 24)!;
      const cache = engine.sequenceOn(sequence);
      const reused = sequence.length;
      expect(sequence.tables).toHaveLength(tables);
      let held = 0;
      while (cache.length < ids.length) {
        const at = cache.length;
        const piece = ids.slice(at, at + 11);
        // Wrong drafts after the piece, which are taken back.
        const logits = await logitsOf(engine, cache, [...piece, ...tokens(9, at)]);
        expect(logits.slice(0, piece.length)).toEqual(expected.slice(at, at + piece.length));
        held = Math.max(held, pages.heldPages);
        cache.truncate(at + piece.length);
        sequence.commit(ids.slice(0, cache.length));
      }
      cache.free();
      return { reused, held };
    };
    const first = await run(tokens(300));
    // Of 300 positions and 9 drafts; the windows have two blocks, and what one pass adds.
    const { fullTables, windowTables } = kvPaging(config);
    expect(first.reused).toBe(0);
    expect(first.held).toBeLessThanOrEqual(fullTables * 20 + windowTables * 5);
    const again = await run([...tokens(288), ...tokens(40, 5)]);
    expect(again.reused).toBe(288);
  },
);
