import {
  adapterRange,
  createRng,
  type ExpertAdapter,
  type HeldAdapter,
  isAdapted,
  isGated,
  ItemAdaptersBuilder,
  type LowRank,
  normalDraw,
  readRow,
  rowRange,
  sliceRows,
  type WorkItem,
} from '@shoal/model';
import { packAdapter } from '@shoal/weights';
import type { ExpertBackend } from '../backend.ts';
import { addExpert64, type ConformanceBench } from './conformance-bench.ts';
import { requireRefusal, requireSame } from './requirements.ts';

const LAYER = 2;
const EXPERTS = [0, 1, 2];
const PARTS = ['gate', 'up', 'down'] as const;
type PairsOf = ReadonlyMap<HeldAdapter, ExpertAdapter>;

/** Rows of several adapters, with and without scales, and of none, in one lap; each as it is alone, and after others have gone. */
export async function checkAdapters(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  await bench.loadAll(LAYER, EXPERTS);
  const pairs = someAdapters(backend);
  const held = await Promise.all(pairs.map((adapter) => backend.openAdapter(packAdapter(adapter))));
  const plain = bench.lap(LAYER, 19, EXPERTS);
  await bench.poison(LAYER, EXPERTS, 60);
  const pairsOf = new Map(held.map((adapter, i) => [adapter, pairs[i]!]));
  const error = await checkLap(backend, bench, plain, held, pairsOf);
  await checkTogether(backend, bench, held);
  held[1]!.free();
  held[1]!.free();
  await requireRefusal('not-loaded', () => backend.run(withAdapters(plain, held)));
  await requireRefusal('bad-shard', () => backend.openAdapter(packAdapter(pairs[0]!).subarray(4)));
  // Its place is taken by a larger one.
  const other = { ...pairs[1]!, down: pair(backend, 'down', 29) };
  held[1] = await backend.openAdapter(packAdapter(other));
  const lap = withAdapters(plain, held);
  const again = reference(backend, bench, lap, pairsOf.set(held[1], other));
  bench.compareWith(again, (await backend.run(lap)).partial);
  for (const adapter of held) adapter.free();
  requireSame((await backend.run(plain)).partial, (await backend.run(plain)).partial, 'a lap after all have gone');
  return `NMSE ${error.toExponential(1)}; each row alone, bit for bit`;
}

const rng = createRng(77);
const normal = (length: number, spread: number): Float32Array =>
  Float32Array.from({ length }, () => spread * normalDraw(rng));

function pair({ shape }: ExpertBackend, part: (typeof PARTS)[number], rank: number): LowRank {
  const { hiddenSize: D, moeIntermediateSize: F } = shape;
  const [inDim, outDim] = part === 'down' ? [F, D] : [D, F];
  return { rank, inDim, outDim, a: normal(rank * inDim, 0.1), b: normal(outDim * rank, 0.1) };
}

function someAdapters(backend: ExpertBackend): ExpertAdapter[] {
  const gate = isGated(backend.shape.activation ?? 'swiglu') && { gate: pair(backend, 'gate', 3) };
  return [
    { ...gate, up: pair(backend, 'up', 3), down: pair(backend, 'down', 2) },
    { down: pair(backend, 'down', 17) },
    { up: pair(backend, 'up', 1) },
  ];
}

/** For assignments in turn: none, one, several with scales. */
function withAdapters(lap: WorkItem, held: readonly HeldAdapter[]): WorkItem {
  const lists = new ItemAdaptersBuilder();
  for (let a = 0; a < lap.experts.length; a++) {
    if (a % 5 === 1 || a % 5 === 2) lists.add(held[0]!);
    if (a % 5 === 2) lists.add(held[2]!, [1, -0.5, 1]);
    if (a % 5 === 3) lists.add(held[1]!, [1, 1, 2]);
    lists.end();
  }
  return { ...lap, adapters: lists.build() };
}

async function checkLap(
  backend: ExpertBackend,
  bench: ConformanceBench,
  plain: WorkItem,
  held: readonly HeldAdapter[],
  pairsOf: PairsOf,
): Promise<number> {
  const D = backend.shape.hiddenSize;
  const lap = withAdapters(plain, held);
  const { partial } = await backend.run(lap);
  const without = (await backend.run(plain)).partial;
  const error = bench.compareWith(reference(backend, bench, lap, pairsOf), partial);
  for (let row = 0; row < lap.numRows; row++) {
    const of = (sums: Float32Array): Float32Array => sums.subarray(row * D, (row + 1) * D);
    requireSame(of(partial), (await backend.run(sliceRows(lap, row))).partial, `row ${row} alone`);
    const [from, to] = rowRange(lap, row);
    const adapted = Array.from({ length: to - from }, (_, i) => isAdapted(lap.adapters, from + i));
    if (!adapted.includes(true)) requireSame(of(partial), of(without), `row ${row}, which has no adapter`);
  }
  return error;
}

/** With laps without adapters and of other layers, in one batch. */
async function checkTogether(
  backend: ExpertBackend,
  bench: ConformanceBench,
  held: readonly HeldAdapter[],
): Promise<void> {
  await bench.loadAll(LAYER + 1, EXPERTS);
  const laps = [LAYER, LAYER + 1, LAYER].map((layer, i) => bench.lap(layer, 5 + i, EXPERTS));
  laps[1] = withAdapters(laps[1]!, held);
  laps[2] = withAdapters(laps[2]!, held);
  const taken: Float32Array[] = [];
  await backend.runTogether?.(laps, (i, sums) => (taken[i] = sums.slice()));
  for (const [i, sums] of taken.entries())
    requireSame(sums, (await backend.run(laps[i]!)).partial, `lap ${i} together`);
}

/** In float64, of the weights with what is added to them. */
function reference({ shape }: ExpertBackend, bench: ConformanceBench, lap: WorkItem, pairsOf: PairsOf): Float64Array {
  const { hiddenSize: D, activation = 'swiglu' } = shape;
  const y = new Float64Array(lap.numRows * D);
  for (let row = 0; row < lap.numRows; row++) {
    const x = new Float32Array(D);
    readRow(lap, row, x);
    const [from, to] = rowRange(lap, row);
    for (let a = from; a < to; a++) {
      const { gate, up, down, biases } = bench.weights(lap.layer, lap.experts[a]!);
      const whole = { gate: gate && Float64Array.from(gate), up: Float64Array.from(up), down: Float64Array.from(down) };
      const [first, end] = adapterRange(lap.adapters!, a);
      for (let i = first; i < end; i++) {
        const adapter = pairsOf.get(lap.adapters!.experts[lap.adapters!.of[i]!] as HeldAdapter)!;
        for (const [m, part] of PARTS.entries()) addTo(whole[part], adapter[part], lap.adapters!.scales[3 * i + m]!);
      }
      const target = y.subarray(row * D, (row + 1) * D);
      addExpert64({ ...whole, biases }, activation, Float64Array.from(x), lap.weights[a]!, target);
    }
  }
  return y;
}

/** W += scale · B A */
function addTo(matrix: Float64Array | null, pair: LowRank | undefined, scale: number): void {
  if (!pair || !matrix) return;
  const { rank, inDim, outDim, a, b } = pair;
  for (let o = 0; o < outDim; o++) {
    for (let k = 0; k < rank; k++) {
      const factor = scale * b[o * rank + k]!;
      for (let i = 0; i < inDim; i++) matrix[o * inDim + i]! += factor * a[k * inDim + i]!;
    }
  }
}
