import {
  type AdapterScales,
  createRng,
  type ExpertAdapter,
  f32ToF16,
  type ItemAdapters,
  ItemAdaptersBuilder,
  type LowRank,
  normalDraw,
  sliceRows,
  type WorkItem,
} from '@shoal/model';
import { type ExpertShape, packExpert } from '@shoal/weights';
import { describe, expect, it } from 'vitest';
import { createReferenceBackend } from '../reference.ts';
import { nmse } from '../testing/numbers.ts';
import { createWasmBackend } from './node.ts';

const EXPERTS = 4;
const ROWS = 9;
const PER_ROW = 3;
/** Ragged, so that neither whole vectors nor blocks fit. */
const [D, F] = [45, 35];

const rng = createRng(11);
const normal = (length: number, spread: number): Float32Array =>
  Float32Array.from({ length }, () => spread * normalDraw(rng));

function lowRank(rank: number, inDim: number, outDim: number): LowRank {
  return { rank, inDim, outDim, a: normal(rank * inDim, 0.3), b: normal(outDim * rank, 0.3) };
}

/** For assignments in turn: nothing, an adapter as it is, two with scales (of which one may be left out), and one alone. */
const LISTS: readonly (readonly [number, AdapterScales?][])[] = [
  [],
  [[0]],
  [
    [0, [0.5, -1, 2]],
    [1, [1, 1, 0.25]],
    [2, [0, 3, 0]],
  ],
  [[1]],
  [[2, [0, 0, 0]]],
];

function itemAdapters(adapters: readonly ExpertAdapter[], assignments: number): ItemAdapters {
  const lists = new ItemAdaptersBuilder();
  for (let a = 0; a < assignments; a++) {
    for (const [index, scales] of LISTS[a % LISTS.length]!) lists.add(adapters[index]!, scales);
    lists.end();
  }
  return lists.build()!;
}

/** Nine rows of three experts each, of which some assignments have some of three adapters. */
function lap(): WorkItem {
  const adapters: ExpertAdapter[] = [
    { gate: lowRank(3, D, F), up: lowRank(3, D, F), down: lowRank(2, F, D) },
    { down: lowRank(17, F, D) },
    { up: lowRank(1, D, F) },
  ];
  const count = ROWS * PER_ROW;
  return {
    layer: 0,
    numRows: ROWS,
    rows: Uint16Array.from(normal(ROWS * D, 1), f32ToF16),
    rowEnd: Uint16Array.from({ length: ROWS }, (_, row) => (row + 1) * PER_ROW),
    experts: Uint16Array.from({ length: count }, (_, a) => (a * 3 + Math.floor(a / PER_ROW)) % EXPERTS),
    weights: Float32Array.from({ length: count }, () => rng()),
    adapters: itemAdapters(adapters, count),
  };
}

describe.each<[ExpertShape['quant'], number, number]>([
  ['f16', 1, 1e-11],
  ['q4', 1, 1e-8],
  ['q8', 3, 1e-8],
])('adapters of experts in %s, on %i threads', (quant, threads, most) => {
  it('are those of the reference, and a row has the same bits alone', async () => {
    const shape: ExpertShape = { hiddenSize: D, moeIntermediateSize: F, quant };
    const backends = [createReferenceBackend(shape), await createWasmBackend({ shape, threads })];
    for (let expert = 0; expert < EXPERTS; expert++) {
      const weights = { gate: normal(F * D, 0.2), up: normal(F * D, 0.2), down: normal(D * F, 0.2), biases: null };
      const shard = packExpert(shape, weights);
      for (const backend of backends) await backend.load(0, expert, shard);
    }
    const item = lap();
    const [expected, sums] = await Promise.all(backends.map(async (backend) => (await backend.run(item)).partial));
    const { adapters: _, ...without } = item;
    const plain = (await backends[1]!.run(without)).partial;
    expect(nmse(sums!, expected!)).toBeLessThan(most);
    expect(nmse(sums!, plain)).toBeGreaterThan(0.01);
    for (let row = 0; row < ROWS; row++) {
      const alone = (await backends[1]!.run(sliceRows(item, row))).partial;
      expect(alone).toEqual(sums!.subarray(row * D, (row + 1) * D));
    }
    for (const backend of backends) backend.destroy();
  });
});
