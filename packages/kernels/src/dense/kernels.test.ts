import { f16ToF32, f32ToF16 } from '@shoal/model';
import { packPanels, panelBytes, unpackPanels, type DenseFormat } from '@shoal/weights';
import { describe, expect, it } from 'vitest';
import { FORMAT_CODES } from './program.ts';
import { nmse, normal } from '../testing/numbers.ts';
import { KernelBench } from './testing/kernels.ts';
import { gemmScratchBytes, preparedBytes } from './workspace.ts';

const FORMATS: DenseFormat[] = ['f32', 'f16', 'q8', 'q4'];
/** Against the packed weights in float64: what rounding of sums, and of q8 and q4's inputs to 16 bits, leaves. */
const GEMM_NMSE: Record<DenseFormat, number> = { f32: 1e-12, f16: 1e-12, q8: 5e-9, q4: 5e-9 };

/** y [rows, outDim] = W x by the kernel, and in float64 from the weights as packed. */
function product(format: DenseFormat, outDim: number, inDim: number, rows: number, from = normal(rows * inDim, 3)) {
  const bench = new KernelBench();
  const blocks = Math.ceil(inDim / 32);
  const packed = new Uint8Array(panelBytes(format, outDim, inDim));
  packPanels(format, normal(outDim * inDim, 7, 0.05), outDim, inDim, packed);
  const w = bench.put(packed);
  const x = bench.put(from);
  const stride = preparedBytes(inDim, format);
  const prepared = bench.room(rows * stride);
  for (let r = 0; r < rows; r++) {
    bench.exports.prepareRow(x + r * inDim * 4, inDim, prepared + r * stride, FORMAT_CODES[format]);
  }
  const y = bench.room(rows * outDim * 4);
  const scratch = bench.room(gemmScratchBytes(inDim));
  const panels = Math.ceil(outDim / 4);
  const code = FORMAT_CODES[format];
  bench.exports.gemm(w, code, blocks, outDim, prepared, stride, rows, y, outDim * 4, 0, 0, panels, scratch);
  const weights = unpackPanels(format, packed, outDim, inDim);
  const expected = new Float64Array(rows * outDim);
  for (let r = 0; r < rows; r++) {
    for (let o = 0; o < outDim; o++) {
      for (let i = 0; i < inDim; i++) expected[r * outDim + o]! += from[r * inDim + i]! * weights[o * inDim + i]!;
    }
  }
  const untouched = bench.isUntouched(y + rows * outDim * 4, 8);
  return { y: bench.floats(y, rows * outDim).slice(), expected, untouched, bench, w, weights };
}

describe.each(FORMATS)('products with %s weights', (format) => {
  it.each([
    [8, 64, 1],
    [3, 32, 1],
    [13, 40, 2],
    [6, 7, 3],
    [17, 200, 5],
    [1, 1, 4],
  ])('%i × %i for %i rows is what the packed weights say, and nothing else is written', (outDim, inDim, rows) => {
    const { y, expected, untouched } = product(format, outDim, inDim, rows);
    expect(nmse(y, expected)).toBeLessThanOrEqual(GEMM_NMSE[format]);
    expect(untouched).toBe(true);
  });

  it.each([2, 3, 4, 5, 7])('gives a row the same bits alone and beside others, %i in all', (rows) => {
    // Six panels, of which the last has one output.
    const [outDim, inDim] = [21, 100];
    const x = normal(rows * inDim, 11);
    const together = product(format, outDim, inDim, rows, x).y;
    for (let r = 0; r < rows; r++) {
      const alone = product(format, outDim, inDim, 1, x.slice(r * inDim, (r + 1) * inDim)).y;
      expect([...together.subarray(r * outDim, (r + 1) * outDim)]).toEqual([...alone]);
    }
  });

  it('gives NaN for NaN, and to no other row', () => {
    const x = normal(3 * 64, 5);
    x[64 + 9] = Number.NaN;
    const { y } = product(format, 8, 64, 3, x);
    expect([...y.subarray(8, 16)].every(Number.isNaN)).toBe(true);
    expect([...y.subarray(0, 8), ...y.subarray(16)].some(Number.isNaN)).toBe(false);
  });

  it('decodes one row of a matrix', () => {
    const { bench, w, weights } = product(format, 9, 70, 1);
    const out = bench.room(96 * 4);
    for (const row of [0, 5, 8]) {
      bench.exports.decodeRow(w, FORMAT_CODES[format], 3, row, out);
      expect([...bench.floats(out, 70)]).toEqual([...weights.subarray(row * 70, (row + 1) * 70)]);
      expect([...bench.floats(out + 280, 26)].every((value) => value === 0)).toBe(true);
    }
  });
});

describe('row-wise kernels', () => {
  it.each([1, 4, 7, 64, 193])('RMSNorm of %i values', (dim) => {
    const bench = new KernelBench();
    const [x, weight] = [normal(dim, 1, 3), normal(dim, 2)];
    const out = bench.room(dim * 4);
    bench.exports.rmsNormRow(bench.put(x), bench.put(weight), dim, 1e-6, out);
    const mean = x.reduce((sum, value) => sum + value * value, 0) / dim;
    const expected = [...x].map((value, i) => (value / Math.sqrt(mean + 1e-6)) * weight[i]!);
    expect(nmse(bench.floats(out, dim), expected)).toBeLessThan(1e-13);
    expect(bench.isUntouched(out + dim * 4, 4)).toBe(true);
  });

  it.each([2, 6, 33])('SiLU times up of %i values, from −100 to 100', (dim) => {
    const bench = new KernelBench();
    const gate = Float32Array.from({ length: dim }, (_, i) => ((i / Math.max(dim - 1, 1)) * 2 - 1) * 100 + 0.3);
    const up = normal(dim, 4);
    const at = bench.put(gate);
    bench.exports.siluMulRow(at, bench.put(up), dim);
    const expected = [...gate].map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
    expect(nmse(bench.floats(at, dim), expected)).toBeLessThan(1e-12);
    expect(bench.isUntouched(at + Math.ceil(dim / 4) * 16, 4)).toBe(true);
  });

  it.each([true, false])('RoPE (interleaved: %s) turns pairs by their angles', (interleaved) => {
    const bench = new KernelBench();
    const dim = 10;
    const x = normal(dim, 8);
    const angles = [0.1, 2, -3, 40, 5];
    const at = bench.put(x);
    const cos = bench.put(Float32Array.from(angles, Math.cos));
    bench.exports.ropeRow(at, dim, cos, bench.put(Float32Array.from(angles, Math.sin)), Number(interleaved));
    const expected = [...x];
    for (const [i, angle] of angles.entries()) {
      const [a, b] = interleaved ? [2 * i, 2 * i + 1] : [i, i + 5];
      expected[a] = x[a]! * Math.cos(angle) - x[b]! * Math.sin(angle);
      expected[b] = x[a]! * Math.sin(angle) + x[b]! * Math.cos(angle);
    }
    expect(nmse(bench.floats(at, dim), expected)).toBeLessThan(1e-13);
  });

  it('clips, and keeps NaN', () => {
    const bench = new KernelBench();
    const at = bench.put(Float32Array.of(-9, -1, 0, 1, 9, Number.NaN));
    bench.exports.clipRow(at, 6, 2);
    expect([...bench.floats(at, 6)]).toEqual([-2, -1, 0, 1, 2, Number.NaN]);
  });
});

describe('16-bit cache values', () => {
  it('come back as packages/model says, for all 65,536 of them', () => {
    const bench = new KernelBench();
    const halves = Uint16Array.from({ length: 65_536 }, (_, i) => i);
    const out = bench.room(65_536 * 4);
    bench.exports.decodeHalves(bench.put(halves), 65_536, out);
    const decoded = bench.floats(out, 65_536);
    const wrong = halves.filter((h) => !Object.is(decoded[h], f16ToF32(h)) && !Number.isNaN(f16ToF32(h)));
    expect([...wrong]).toEqual([]);
    expect([...halves].filter((h) => Number.isNaN(f16ToF32(h)) !== Number.isNaN(decoded[h]!))).toEqual([]);
  });

  it('are rounded as packages/model rounds', () => {
    const bench = new KernelBench();
    const values = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) * 1.37e-8 * 1.012 ** i);
    values.set([65_504, 65_519, 65_520, 1e9, Infinity, -Infinity, 0, -0, 5.9e-8, 2.9e-8, 3e-8]);
    const out = bench.room(values.length * 2);
    bench.exports.encodeHalves(bench.put(values), values.length, out);
    const halves = new Uint16Array(bench.memory.buffer, out, values.length);
    expect([...halves]).toEqual(Array.from(values, f32ToF16));
    expect(bench.isUntouched(out + Math.ceil(values.length / 2) * 4, 4)).toBe(true);
  });
});

describe('parts of the cache', () => {
  /** Encodes a part and decodes it. */
  function roundTrip(values: Float32Array): { exponent: number; halves: number[]; decoded: number[] } {
    const bench = new KernelBench();
    const [out, exponent, decoded] = [bench.room(32), bench.room(4), bench.room(32)];
    bench.exports.encodePart(bench.put(values), values.length, out, exponent);
    bench.exports.decodePart(out, values.length, exponent, decoded);
    return {
      exponent: new Uint8Array(bench.memory.buffer)[exponent]!,
      halves: [...new Uint16Array(bench.memory.buffer, out, values.length)],
      decoded: [...bench.floats(decoded, values.length)],
    };
  }

  it('are plain f16 where they fit, and f16 × a power of two beyond', () => {
    for (const [largest, exponent] of [
      [65_519, 0],
      [65_520, 1],
      [-131_000, 1],
      [131_040, 2],
      [1e5, 1],
      [-3e38, 112],
    ] as const) {
      const values = Float32Array.of(0.3, -17.01, largest, 1e-3, 5);
      const found = roundTrip(values);
      const scale = 2 ** exponent;
      const halves = [...values].map((value) => f32ToF16(value / scale));
      expect(found).toEqual({ exponent, halves, decoded: halves.map((half) => f16ToF32(half) * scale) });
      expect(Math.abs(found.decoded[2]! / largest - 1)).toBeLessThan(2 ** -11);
    }
  });

  it('keep ∞ and NaN', () => {
    const { exponent, decoded } = roundTrip(Float32Array.of(1, Infinity, 2, 1e9, Number.NaN, -Infinity));
    expect({ exponent, decoded }).toEqual({
      exponent: 0,
      decoded: [1, Infinity, 2, Infinity, Number.NaN, -Infinity],
    });
  });
});

describe('attention over blocks', () => {
  it.each([1, 15, 16, 17, 50])('of %i positions is a softmax over all of them', (length) => {
    const bench = new KernelBench();
    const [keyDim, valueDim] = [40, 36];
    const q = normal(keyDim, 1);
    const keys = normal(length * keyDim, 2, 2);
    const at = bench.put(q);
    const block = bench.room(16 * keyDim * 4);
    const state = bench.room(16 + valueDim * 4);
    const scores = bench.room(64);
    bench.exports.openState(state, valueDim);
    for (let start = 0; start < length; start += 16) {
      const count = Math.min(16, length - start);
      // Behind the last position lies what the block before left there, or poison: neither may count.
      bench.floats(block, count * keyDim).set(keys.subarray(start * keyDim, (start + count) * keyDim));
      bench.exports.attendBlock(at, keyDim, valueDim, block, block, keyDim * 4, count, 0.3, state, scores, 0);
    }
    bench.exports.closeState(state, valueDim);
    const logits = Array.from({ length }, (_, t) => {
      return 0.3 * q.reduce((sum, value, i) => sum + value * keys[t * keyDim + i]!, 0);
    });
    const top = Math.max(...logits);
    const weights = logits.map((logit) => Math.exp(logit - top));
    const total = weights.reduce((a, b) => a + b, 0);
    const expected = Array.from({ length: valueDim }, (_, d) => {
      return weights.reduce((sum, weight, t) => sum + (weight / total) * keys[t * keyDim + d]!, 0);
    });
    expect(nmse(bench.floats(state + 16, valueDim), expected)).toBeLessThan(1e-11);
  });
});
