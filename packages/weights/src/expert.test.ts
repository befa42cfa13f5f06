import { createRng, decodeF16, f16ToF32, f32ToF16, normalDraw, type SwigluWeights } from '@shoal/model';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packExpert, unpackExpert } from './expert.ts';
import { MATRIX_NAMES, QUANTS, shardBytes, shardLayout, type ExpertShape, type Quant } from './layout.ts';

const dimension = fc.integer({ min: 1, max: 100 });
/** Of every magnitude that f16 can hold, tiny and zero included. */
const weight = fc.oneof(
  fc.double({ min: -1, max: 1, noNaN: true }),
  fc.double({ min: -65_000, max: 65_000, noNaN: true }),
  fc.double({ min: -1e-6, max: 1e-6, noNaN: true }),
  fc.constant(0),
);

function expertOf(shape: ExpertShape): fc.Arbitrary<SwigluWeights> {
  const length = shape.hiddenSize * shape.moeIntermediateSize;
  const matrix = fc
    .array(weight, { minLength: Math.min(length, 40), maxLength: Math.min(length, 40) })
    .map((values) => Float32Array.from({ length }, (_, i) => values[(i * 7 + (i >> 5)) % values.length]!));
  return fc.record({ gate: matrix, up: matrix, down: matrix });
}

function packed(quant: Quant): fc.Arbitrary<{ shape: ExpertShape; weights: SwigluWeights }> {
  return fc
    .record({ hiddenSize: dimension, moeIntermediateSize: dimension, quant: fc.constant(quant) })
    .chain((shape) => expertOf(shape).map((weights) => ({ shape, weights })));
}

const matrices = ({ gate, up, down }: SwigluWeights): Float32Array[] => [gate, up, down];

describe('shardLayout', () => {
  it('puts every section on 16 bytes, one after another, without overlap', () => {
    fc.assert(
      fc.property(dimension, dimension, fc.constantFrom(...QUANTS), (D, F, quant) => {
        const layout = shardLayout({ hiddenSize: D, moeIntermediateSize: F, quant });
        let end = 0;
        for (const matrix of layout.matrices) {
          for (const [offset, bytes] of [
            [matrix.valuesOffset, matrix.valuesBytes],
            [matrix.scalesOffset, matrix.scalesBytes],
          ] as const) {
            expect(offset % 16).toBe(0);
            expect(offset).toBeGreaterThanOrEqual(end);
            expect(offset - end).toBeLessThan(16);
            end = offset + bytes;
          }
        }
        expect(layout.totalBytes).toBe(Math.ceil(end / 16) * 16);
      }),
    );
  });

  it('takes the bytes of the planning table for V2-Lite', () => {
    const shape = { hiddenSize: 2048, moeIntermediateSize: 1408 };
    expect(shardBytes({ ...shape, quant: 'f16' })).toBe(3 * 2048 * 1408 * 2);
    // 8.5 bits a weight: 8.8 MiB.
    expect(shardBytes({ ...shape, quant: 'q8' })).toBe((3 * 2048 * 1408 * 17) / 16);
    expect(shardBytes({ ...shape, quant: 'q4' })).toBe((3 * 2048 * 1408 * 9) / 16);
  });

  it('refuses impossible shapes', () => {
    for (const hiddenSize of [0, -1, 1.5, Number.NaN, 1e9]) {
      expect(() => shardLayout({ hiddenSize, moeIntermediateSize: 8, quant: 'f16' })).toThrowError(
        expect.objectContaining({ reason: 'bad-shape', message: expect.stringContaining('hiddenSize') as string }),
      );
    }
    const unknown = { hiddenSize: 8, moeIntermediateSize: 8, quant: 'q2' } as unknown as ExpertShape;
    expect(() => shardLayout(unknown)).toThrowError(expect.objectContaining({ reason: 'bad-shape' }));
  });
});

describe('packExpert', () => {
  it('rounds to the nearest f16 and back, at any size', () => {
    fc.assert(
      fc.property(packed('f16'), ({ shape, weights }) => {
        const rounded = unpackExpert(shape, packExpert(shape, weights));
        for (const [i, matrix] of matrices(rounded as SwigluWeights).entries()) {
          const expected = matrices(weights)[i]!.map((value) => f16ToF32(f32ToF16(value)));
          expect(Buffer.compare(new Uint8Array(matrix.buffer), new Uint8Array(expected.buffer))).toBe(0);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('keeps every q8 weight within half a step of its block', () => {
    expectOfBlocks('q8', expectHalfStep);
  });

  it('lays values column-block-major, zero-padded', () => {
    const shape: ExpertShape = { hiddenSize: 9, moeIntermediateSize: 2, quant: 'f16' };
    const count = (first: number): Float32Array => Float32Array.from({ length: 18 }, (_, i) => first + i);
    const shard = packExpert(shape, { gate: count(1), up: count(101), down: count(201) });
    const values = decodeF16(new Uint16Array(shard.buffer, 0, 32));
    expect([...values.subarray(0, 16)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17]);
    expect([...values.subarray(16)]).toEqual([9, 0, 0, 0, 0, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('lays a q8 block as two vectors apart, and its scales after all values', () => {
    const shape: ExpertShape = { hiddenSize: 32, moeIntermediateSize: 2, quant: 'q8' };
    const gate = Float32Array.from({ length: 64 }, (_, i) => (i < 32 ? i : -127 + i));
    gate[31] = 127;
    const shard = packExpert(shape, { gate, up: new Float32Array(64), down: new Float32Array(64) });
    const quants = new Int8Array(shard.buffer, 0, 64);
    expect([...quants.subarray(0, 4)]).toEqual([0, 1, 2, 3]);
    expect(quants[32]).toBe(16);
    expect(quants[47]).toBe(127);
    expect(f16ToF32(new Uint16Array(shard.buffer, 64, 2)[0]!)).toBe(1);
    expect(f16ToF32(new Uint16Array(shard.buffer, 64, 2)[1]!)).toBeCloseTo(95 / 127, 3);
  });

  it('keeps every q4 block at least as near as the rule of Q4_0', () => {
    expectOfBlocks('q4', expectNoWorseThanQ4Zero);
  });

  it('loses a tenth less than Q4_0 on normal weights', () => {
    const shape: ExpertShape = { hiddenSize: 512, moeIntermediateSize: 64, quant: 'q4' };
    const random = createRng(7);
    const m = Float32Array.from({ length: 512 * 64 }, () => normalDraw(random));
    const { gate } = unpackExpert(shape, packExpert(shape, { gate: m, up: m, down: m }));
    let [ours, q4Zero] = [0, 0];
    for (let at = 0; at < m.length; at += 32) {
      const block = m.subarray(at, at + 32);
      ours += squaredError(block, gate!.subarray(at, at + 32));
      q4Zero += squaredError(block, q4ZeroOf(block));
    }
    expect(ours / q4Zero).toBeLessThan(0.91);
  });

  it('lays a q4 block as GGUF does: column j in a low nibble, column j + 16 in the high one', () => {
    const shape: ExpertShape = { hiddenSize: 32, moeIntermediateSize: 2, quant: 'q4' };
    // Row 0: every code from −8 to 7 twice, so that the scale is exactly 1; row 1: the same, doubled and backwards.
    const gate = Float32Array.from({ length: 64 }, (_, i) => (i < 32 ? (i % 16) - 8 : 2 * (7 - (i % 16))));
    gate[16] = 7;
    const shard = packExpert(shape, { gate, up: new Float32Array(64), down: new Float32Array(64) });
    expect([...shard.subarray(0, 4)]).toEqual([0xf0, 0x11, 0x22, 0x33]);
    expect([...shard.subarray(16, 20)]).toEqual([0xff, 0xee, 0xdd, 0xcc]);
    expect([...new Uint16Array(shard.buffer, 32, 2)].map(f16ToF32)).toEqual([1, 2]);
    // up is all zeros: code 8 everywhere, scale 0.
    expect(shard[48]).toBe(0x88);
  });

  it('names the weight that cannot be packed', () => {
    for (const [quant, bad] of [
      ['f16', 65_520],
      ['f16', Number.NaN],
      ['f16', Number.POSITIVE_INFINITY],
      ['q8', 1e8],
      ['q8', Number.NaN],
      ['q8', Number.NEGATIVE_INFINITY],
      ['q4', 1e8],
      ['q4', Number.NaN],
      ['q4', Number.NEGATIVE_INFINITY],
    ] as const) {
      const shape: ExpertShape = { hiddenSize: 40, moeIntermediateSize: 3, quant };
      const up = new Float32Array(120);
      up[1 * 40 + 35] = bad;
      const weights = { gate: new Float32Array(120), up, down: new Float32Array(120) };
      expect(() => packExpert(shape, weights)).toThrowError(
        expect.objectContaining({ reason: 'bad-weight', message: expect.stringContaining('up_proj[1, 35]') as string }),
      );
    }
  });

  it('refuses a matrix or a shard of the wrong length', () => {
    const shape: ExpertShape = { hiddenSize: 4, moeIntermediateSize: 4, quant: 'f16' };
    const m = new Float32Array(16);
    expect(() => packExpert(shape, { gate: m, up: m, down: m.subarray(1) })).toThrowError(
      expect.objectContaining({ reason: 'bad-shape', message: expect.stringContaining('down') as string }),
    );
    expect(() => unpackExpert(shape, new Uint8Array(15))).toThrowError(
      expect.objectContaining({ reason: 'bad-shard' }),
    );
  });

  it('reads a shard at an odd offset of a larger buffer', () => {
    const shape: ExpertShape = { hiddenSize: 33, moeIntermediateSize: 5, quant: 'q8' };
    const m = Float32Array.from({ length: 165 }, (_, i) => Math.sin(i));
    const shard = packExpert(shape, { gate: m, up: m, down: m });
    const moved = new Uint8Array(shard.length + 1);
    moved.set(shard, 1);
    expect(unpackExpert(shape, moved.subarray(1))).toEqual(unpackExpert(shape, shard));
  });
});

/** Calls `check` with every block of 32 columns, and what packing leaves of it, for experts of any size. */
function expectOfBlocks(quant: Quant, check: (original: Float32Array, rounded: Float32Array) => void): void {
  fc.assert(
    fc.property(packed(quant), ({ shape, weights }) => {
      const rounded = unpackExpert(shape, packExpert(shape, weights));
      for (const name of MATRIX_NAMES) {
        const cols = name === 'down' ? shape.moeIntermediateSize : shape.hiddenSize;
        for (let first = 0; first < weights[name].length; first += cols) {
          for (let col = 0; col < cols; col += 32) {
            const block: [number, number] = [first + col, first + Math.min(cols, col + 32)];
            check(weights[name].subarray(...block), rounded[name]!.subarray(...block));
          }
        }
      }
    }),
    { numRuns: 60 },
  );
}

/** GGUF's Q4_0: scale = largest / −8 as f16, and the nearest code under that scale. */
function q4ZeroOf(block: Float32Array): Float32Array {
  const largest = block.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
  const scale = f16ToF32(f32ToF16(largest / -8));
  if (scale === 0) return new Float32Array(block.length);
  return block.map((value) => (Math.max(0, Math.min(15, Math.floor(value / scale + 8.5))) - 8) * scale);
}

function squaredError(block: Float32Array, rounded: Float32Array): number {
  return block.reduce((sum, value, i) => sum + (value - rounded[i]!) ** 2, 0);
}

function expectNoWorseThanQ4Zero(original: Float32Array, rounded: Float32Array): void {
  const limit = squaredError(original, q4ZeroOf(original));
  expect(squaredError(original, rounded)).toBeLessThanOrEqual(limit * (1 + 1e-5));
}

/** |w − q·scale| ≤ scale / 2, where the scale is at most a rounding (2^-10) above absmax / 127, or f16's smallest number. */
function expectHalfStep(original: Float32Array, rounded: Float32Array): void {
  const absMax = original.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  const halfStep = ((absMax / 127) * (1 + 2 ** -10) + 2 ** -24) / 2;
  // `Math.max` keeps a NaN, which no limit admits. A call of `expect` for each weight would take most of the test's time.
  const worst = original.reduce((max, value, i) => Math.max(max, Math.abs(value - rounded[i]!)), 0);
  // A little more for the last bit of the product in float32.
  expect(worst).toBeLessThanOrEqual(halfStep + absMax * 2 ** -23);
}
