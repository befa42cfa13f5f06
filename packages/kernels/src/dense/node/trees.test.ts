import {
  createReferenceEngine,
  createRng,
  type ForwardEngine,
  loadDenseWeights,
  type ModelConfig,
  type Rng,
  type SequenceCache,
} from '@shoal/model';
import { afterEach, expect, it } from 'vitest';
import { config as mla, enlarged, experts, gqa } from '../testing/small-model.ts';
import { openWasmEngine } from './open.ts';

const full = { span: { kind: 'full' }, rope: true } as const;
const window = { span: { kind: 'window', positions: 7 }, rope: true } as const;
const chunks = { span: { kind: 'chunk', positions: 10 }, rope: false } as const;
if (gqa.attention.kind !== 'gqa') throw new Error('the small model has another attention');
/** Windows, chunks, sinks, and queries whose temperature depends on the position. */
const mixed: ModelConfig = {
  ...gqa,
  layerAttention: [window, full, chunks],
  attention: { ...gqa.attention, sinks: true, temperature: { floor: 8, scale: 0.1 } },
};

const open: ForwardEngine[] = [];
afterEach(async () => {
  for (const engine of open.splice(0)) await engine.close();
});

/** Weights whose keys and values are beyond f16, so that every position has exponents. */
async function engineOf(kind: 'reference' | 'wasm', config: ModelConfig): Promise<ForwardEngine> {
  const reader = enlarged(config);
  if (kind === 'reference') return createReferenceEngine({ config, weights: await loadDenseWeights(config, reader) });
  const engine = await openWasmEngine({ config, weights: { reader, format: 'f32' }, threads: 2, kvBytes: 2 ** 22 });
  open.push(engine);
  return engine;
}

interface Node {
  token: number;
  parent: number;
  position: number;
  /** Where it and those before it lie, as far as they are not in their own places. */
  slots: number[];
}

/** A tree of tokens after a text of `length` positions whose last token is its root; parents come before children. */
function randomTree(rng: Rng, length: number, count: number): Node[] {
  const nodes: Node[] = [];
  for (let i = 0; i < count; i++) {
    // Mostly after one of the latest, so that some paths are long.
    const parent = Math.max(-1, i - 1 - Math.floor(rng() ** 2 * (i + 1)));
    const before = nodes[parent];
    const slots = [...(before?.slots ?? []), length + i];
    nodes.push({ token: Math.floor(rng() * 53), parent, position: (before?.position ?? length - 1) + 1, slots });
  }
  return nodes;
}

const pathTo = (nodes: readonly Node[], i: number): number[] => (i < 0 ? [] : [...pathTo(nodes, nodes[i]!.parent), i]);

it.each([
  ['reference', 'MLA', mla],
  ['reference', 'GQA with windows, chunks and sinks', mixed],
  ['wasm', 'MLA', mla],
  ['wasm', 'GQA with windows, chunks and sinks', mixed],
] as const)(
  'the %s engine computes rows of a tree with %s to the bits of each path alone, and goes on from the one that is kept',
  async (kind, _, config) => {
    const engine = await engineOf(kind, config);
    const rng = createRng(20_261_130);
    const cache = engine.newSequence();
    const plain = engine.newSequence();
    const ids = Array.from({ length: 13 }, (_, i) => (i * 7 + 1) % 53);
    const feed = async (to: SequenceCache, tokens: readonly number[]): Promise<number[][]> => {
      const from = to.length;
      const rows = tokens.map((tokenId, i) => ({ tokenId, position: from + i, cache: to, wantLogits: true }));
      return (await engine.forward(rows, experts)).logits.map((row) => [...row!]);
    };
    await feed(cache, ids);
    await feed(plain, ids);
    for (const count of [1, 9, 20, 14, 33]) {
      const length = ids.length;
      const nodes = randomTree(rng, length, count);
      // Without windows some in a call of their own, as the MTP module drafts.
      const cut = config === mla ? 1 + Math.floor(rng() * count) : count;
      const rows = nodes.map(({ token, position, slots }) => ({
        tokenId: token,
        position,
        cache,
        slots,
        wantLogits: true,
      }));
      const results = [await engine.forward(rows.slice(0, cut), experts)];
      if (cut < count) results.push(await engine.forward(rows.slice(cut), experts));
      const logits = results.flatMap((result) => result.logits.map((row) => [...row!]));
      const leaves = [...nodes.keys()].filter((i) => nodes.every(({ parent }) => parent !== i));
      for (const leaf of leaves) {
        const path = pathTo(nodes, leaf);
        const alone = await feed(
          plain,
          path.map((i) => nodes[i]!.token),
        );
        expect(path.map((i) => logits[i])).toEqual(alone);
        plain.truncate(length);
      }
      const kept = pathTo(nodes, Math.floor(rng() * (count + 1)) - 1);
      cache.keep(
        length,
        kept.map((i) => length + i),
      );
      const tokens = kept.map((i) => nodes[i]!.token);
      if (kept.length > 0) await feed(plain, tokens);
      ids.push(...tokens, 5);
      expect(await feed(cache, [5])).toEqual(await feed(plain, [5]));
      expect(cache.length).toBe(ids.length);
    }
  },
);

it.each(['reference', 'wasm'] as const)('the %s engine computes trees of the MTP module', async (kind) => {
  const engine = await engineOf(kind, mla);
  const [tree, chain] = [engine.newMtpSequence(), engine.newMtpSequence()];
  const hiddenOf = (i: number): Float32Array =>
    Float32Array.from({ length: mla.hiddenSize }, (_, d) => Math.sin(i + d));
  const row = (cache: SequenceCache, position: number, nextTokenId: number, slots?: number[]) => {
    return { hidden: hiddenOf(nextTokenId), nextTokenId, position, cache, slots, wantLogits: true };
  };
  const logitsOf = async (rows: readonly ReturnType<typeof row>[]) =>
    (await engine.forwardMtp(rows, experts)).logits.map((logits) => [...logits!]);
  const known = Array.from({ length: 15 }, (_, i) => i);
  for (const cache of [tree, chain]) await logitsOf(known.map((i) => row(cache, i, i)));
  // 20 and 21 follow the known positions, and 30 follows 21.
  await logitsOf([row(tree, 15, 20), row(tree, 15, 21, [16])]);
  const [after] = await logitsOf([row(tree, 16, 30, [16, 17])]);
  const alone = await logitsOf([row(chain, 15, 21), row(chain, 16, 30)]);
  expect(after).toEqual(alone[1]);
  tree.keep(15, [16, 17]);
  expect(await logitsOf([row(tree, 17, 9)])).toEqual(await logitsOf([row(chain, 17, 9)]));
});

it.each([
  ['before its position', 14, [12, 15]],
  ['not ascending', 15, [14, 14, 15]],
  ['not the next free one', 14, [14]],
  ['none', 15, []],
])('slots that are %s are refused', async (_, position, slots) => {
  const engine = await engineOf('reference', mla);
  const cache = engine.newSequence();
  const rows = Array.from({ length: 15 }, (_, i) => ({ tokenId: 1, position: i, cache }));
  await engine.forward(rows, experts);
  await expect(engine.forward([{ tokenId: 2, position, cache, slots }], experts)).rejects.toThrow(/slot/);
  expect(cache.length).toBe(15);
  for (const [length, kept] of [
    [16, []],
    [10, [9]],
    [10, [12, 11]],
    [10, [15]],
  ] as const)
    expect(() => cache.keep(length, kept)).toThrow(/KV cache/);
});
