import { describe, expect, it } from 'vitest';
import { nmse, normal } from '../testing/numbers.ts';
import { PAGE_POSITIONS, pageBytes } from './kv-pages.ts';
import { bitsOf, PROGRAM_BYTES, ProgramWriter } from './program.ts';
import { KernelBench } from './testing/kernels.ts';

const HEAD_DIM = 12;
const SCALE = 0.3;
const LAST = 100_000;

interface Seen {
  window?: number;
  chunk?: number;
  sink?: number;
  /** The row's own first position. */
  first?: number;
  /** A bias for each distance up to this one, and beyond it the same. */
  reach?: number;
}

/** Of distances −reach to 0, and of later positions, which no row here sees. */
const biasAt = (distance: number, reach: number): number => Math.sin(Math.max(-reach, distance)) * 2;

/**
 * Attention of one head of a row at position LAST, whose page table has nothing but the pages from `firstPage` on: before them it
 * has addresses outside the memory, so that reading a block there traps. Returns the result, and keys and values from there on.
 */
function attend(firstPage: number, { window = 0, chunk = 0, sink, first, reach }: Seen) {
  const bench = new KernelBench();
  const lastPage = Math.floor(LAST / PAGE_POSITIONS);
  bench.room(lastPage * 4);
  const numPages = lastPage + 1 - firstPage;
  const addresses = Array.from({ length: numPages }, () => bench.room(pageBytes(1, 2 * HEAD_DIM)));
  const table = bench.put(new Uint8Array(Int32Array.from(addresses).buffer)) - firstPage * 4;
  const values = normal(numPages * PAGE_POSITIONS * 2 * HEAD_DIM, 4);
  for (let t = 0; t < numPages * PAGE_POSITIONS; t++) {
    const page = addresses[Math.floor(t / PAGE_POSITIONS)]!;
    const row = bench.put(values.subarray(t * 2 * HEAD_DIM, (t + 1) * 2 * HEAD_DIM));
    bench.exports.encodeHalves(row, 2 * HEAD_DIM, page + (t % PAGE_POSITIONS) * 2 * HEAD_DIM * 2);
    bench.views.u8.fill(0, page + PAGE_POSITIONS * 2 * HEAD_DIM * 2, page + pageBytes(1, 2 * HEAD_DIM));
  }
  const q = normal(HEAD_DIM, 9);
  const rows = bench.put(new Uint8Array(Int32Array.of(LAST, table, 0, 0, LAST, LAST + 1, 0, 0).buffer));
  const tasks = bench.put(new Uint8Array(Int32Array.of(0, 1, 0, 1).buffer));
  const out = bench.room(HEAD_DIM * 4);
  const sinks = sink === undefined ? 0 : bench.put(Float32Array.of(sink));
  const firsts = first === undefined ? 0 : bench.put(new Uint8Array(Int32Array.of(first).buffer));
  const biases =
    reach === undefined
      ? 0
      : bench.put(
          Float32Array.from({ length: 2 * reach + 1 }, (_, i) => (i > reach ? Number.NaN : biasAt(i - reach, reach))),
        );
  const writer = new ProgramWriter(bench, bench.room(PROGRAM_BYTES), 1);
  const heads = [HEAD_DIM, 1, 1, bitsOf(SCALE), 0];
  const seen = [sinks, window, chunk, firsts, biases, reach ?? 0];
  writer.push('groupedAttention', 1, [rows, tasks, bench.put(q), 0, ...heads, out, 0, ...seen]);
  bench.exports.runProgram(writer.finish(), bench.put(Float32Array.of(0, 0)), 1, bench.room(8192));
  return { q, values, result: bench.floats(out, HEAD_DIM) };
}

/** Softmax attention over positions `first` to LAST, in float64. */
function expected(
  first: number,
  firstPage: number,
  { q, values, seen }: { q: Float32Array; values: Float32Array; seen: Seen },
): number[] {
  const { sink, reach } = seen;
  const at = (position: number, i: number): number =>
    values[(position - firstPage * PAGE_POSITIONS) * 2 * HEAD_DIM + i]!;
  const positions = Array.from({ length: LAST + 1 - first }, (_, i) => first + i);
  const weights = positions.map((t) => {
    const bias = reach === undefined ? 0 : biasAt(t - LAST, reach);
    return Math.exp(SCALE * q.reduce((sum, value, i) => sum + value * at(t, i), 0) + bias);
  });
  const total = weights.reduce((a, b) => a + b, sink === undefined ? 0 : Math.exp(sink));
  return Array.from({ length: HEAD_DIM }, (_, d) =>
    positions.reduce((sum, t, i) => sum + (weights[i]! / total) * at(t, HEAD_DIM + d), 0),
  );
}

describe('attention at position 100,000', () => {
  it.each([
    [{ window: 128 }, 99_873],
    [{ window: 1 }, 100_000],
    [{ window: 16 }, 99_985],
    [{ chunk: 64 }, 99_968],
    [{ chunk: 100_000 }, 100_000],
    [{ window: 50, sink: 3 }, 99_951],
    [{ window: 50, sink: -90 }, 99_951],
    [{ first: 99_900 }, 99_900],
    [{ first: 99_904, reach: 20 }, 99_904],
    [{ first: 99_990, reach: 200 }, 99_990],
  ] as const)('reads only the blocks that %o shows, and of them only these positions', (seen: Seen, first) => {
    const firstPage = Math.floor(first / PAGE_POSITIONS);
    const { q, values, result } = attend(firstPage, seen);
    expect(nmse(result, expected(first, firstPage, { q, values, seen }))).toBeLessThan(1e-6);
    // With one block less in the table, the kernel reads outside the memory.
    expect(() => attend(firstPage + 1, seen)).toThrow(/out of bounds/);
  });
});
