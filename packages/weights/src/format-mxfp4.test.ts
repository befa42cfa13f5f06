import { createRng, decodeMxfp4, e2m1Of, e8m0Of, type Mxfp4Rows, normalDraw } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { packExpert, packExpertBias, packExpertRows, unpackExpert, unpackExpertRows } from './expert.ts';
import { type ExpertShape, matrixOf, shardLayout } from './layout.ts';

/** 45 columns: a whole block, and one of 13 that ends within a byte. */
const SHAPE: ExpertShape = { hiddenSize: 45, moeIntermediateSize: 6, quant: 'mxfp4', activation: 'relu' };

/** Codes and scales that use all bits; the scales stay below those with which elements may be beyond float32. */
function someRows(numRows: number, cols: number, seed: number): Mxfp4Rows {
  const rng = createRng(seed);
  const bytes = (count: number, below: number) => Uint8Array.from({ length: count }, () => Math.floor(rng() * below));
  return { codes: bytes(numRows * Math.ceil(cols / 2), 256), scales: bytes(numRows * Math.ceil(cols / 32), 253) };
}

const upOf = (rows: Mxfp4Rows): Float32Array => {
  const layout = shardLayout(SHAPE);
  const up = matrixOf(layout, 'up');
  const shard = new Uint8Array(layout.totalBytes);
  packExpertRows('mxfp4', up, rows, shard, 0);
  return unpackExpertRows('mxfp4', up, shard, 0, up.rows);
};

/** The bits, so that −0 is not 0. */
const bitsOf = (values: Float32Array): number[] => [...new Uint32Array(values.buffer, 0, values.length)];

describe('MXFP4', () => {
  it('has the values of the specification', () => {
    expect(Array.from({ length: 16 }, (_, code) => e2m1Of(code))).toEqual(
      [1, -1].flatMap((sign) => [0, 0.5, 1, 1.5, 2, 3, 4, 6].map((value) => sign * value)),
    );
    expect([0, 1, 127, 254, 255].map(e8m0Of)).toEqual([2 ** -127, 2 ** -126, 1, 2 ** 127, Number.NaN]);
    // Two columns a byte, the even one in the low nibble; the second block's scale is 2^-2.
    const codes = new Uint8Array(17);
    codes.set([0x72, 0xf9], 0);
    codes[16] = 0x03;
    const values = decodeMxfp4({ codes, scales: Uint8Array.of(128, 125) }, 33);
    expect([...values.subarray(0, 5), values[32]]).toEqual([2, 12, -1, -12, 0, 0.375]);
  });
});

describe('packMxfp4Rows', () => {
  it('keeps every bit of rows that are MXFP4 already, ragged or not, packed at once or in parts', () => {
    const rows = someRows(6, 45, 3);
    const expected = decodeMxfp4(rows, 45);
    expect(bitsOf(upOf(rows))).toEqual(bitsOf(expected));
    const layout = shardLayout(SHAPE);
    const up = matrixOf(layout, 'up');
    const shard = new Uint8Array(layout.totalBytes);
    for (const row of [5, 0, 3, 1, 4, 2]) {
      const codes = rows.codes.subarray(row * 23, (row + 1) * 23);
      packExpertRows('mxfp4', up, { codes, scales: rows.scales.subarray(row * 2, row * 2 + 2) }, shard, row);
    }
    expect(bitsOf(unpackExpertRows('mxfp4', up, shard, 0, 6))).toEqual(bitsOf(expected));
  });

  it('refuses a scale that is NaN, a weight beyond float32 and rows of the wrong length, naming the weight', () => {
    const changed = (change: (rows: Mxfp4Rows) => void): Mxfp4Rows => {
      const rows = someRows(6, 45, 3);
      change(rows);
      return rows;
    };
    const refusal = (rows: Mxfp4Rows, message: RegExp) =>
      expect(() => upOf(rows)).toThrowError(expect.objectContaining({ message: expect.stringMatching(message) }));
    refusal(
      changed(({ scales }) => (scales[5] = 255)),
      /up_proj\[2, 32\] has a scale that is NaN/,
    );
    const large = changed(({ codes, scales }) => {
      scales[4] = 254;
      codes.fill(0x33, 2 * 23, 3 * 23);
    });
    expect(upOf(large)[2 * 45]).toBe(Math.fround(1.5 * 2 ** 127));
    large.codes[2 * 23 + 4] = 0x43;
    refusal(large, /up_proj\[2, 9\] is too large for float32/);
    refusal({ ...someRows(6, 45, 3), scales: new Uint8Array(11) }, /no whole rows of 45 MXFP4 columns/);
  });
});

describe('packMxfp4', () => {
  const ELEMENTS = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

  /** The nearest element, of two the one whose code is even. */
  function nearest(value: number): number {
    const distances = ELEMENTS.map((element) => Math.abs(Math.min(Math.abs(value), 6) - element));
    const least = Math.min(...distances);
    const best = distances.flatMap((distance, code) => (distance === least ? [code] : []));
    return Math.sign(value) * ELEMENTS[best.find((code) => code % 2 === 0) ?? best[0]!]!;
  }

  it('takes the scale of the OCP specification and rounds to the nearest element, ties to even', () => {
    const shape: ExpertShape = { ...SHAPE, hiddenSize: 33, moeIntermediateSize: 400 };
    const up = Float32Array.from({ length: 400 * 33 }, (_, i) => {
      const [row, col] = [Math.floor(i / 33), i % 33];
      // The largest of a row's first block is 4 to 7.9 times a power of two from 2^-100 to 2^99; the rest are multiples of 1/8.
      const power = 2 ** ((row % 200) - 100);
      const multiple = col === 0 ? 32 + (row % 32) : ((row * 7 + col * 5) % 65) - 32;
      return (multiple / 8) * power;
    });
    const packed = unpackExpert(shape, packExpert(shape, { gate: up, up, down: new Float32Array(up.length) })).up;
    for (const [i, value] of up.entries()) {
      const col = i % 33;
      if (col === 32) continue;
      const power = 2 ** ((Math.floor(i / 33) % 200) - 100);
      expect(packed[i]! / power + 0).toBe(nearest(value / power) + 0);
    }
  });

  it('changes nothing of what was MXFP4 before, the least and the largest scales included', () => {
    const shape: ExpertShape = { ...SHAPE, moeIntermediateSize: 300 };
    const original = decodeMxfp4(someRows(300, 45, 8), 45);
    const down = decodeMxfp4(someRows(45, 300, 9), 300);
    const { up, down: again } = unpackExpert(shape, packExpert(shape, { gate: original, up: original, down }));
    expect(bitsOf(up)).toEqual(bitsOf(original));
    expect(bitsOf(again)).toEqual(bitsOf(down));
  });

  it('refuses NaN and ∞ by name', () => {
    for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      const up = new Float32Array(270);
      up[2 * 45 + 40] = bad;
      expect(() => packExpert(SHAPE, { gate: up, up, down: new Float32Array(270) })).toThrow(/up_proj\[2, 40\]/);
    }
  });
});

describe('shards of kinds', () => {
  const biased: ExpertShape = { hiddenSize: 5, moeIntermediateSize: 3, quant: 'f16', bias: true };
  const rng = createRng(2);
  const values = (length: number) => Float32Array.from({ length }, () => normalDraw(rng));
  const weights = () => {
    const biases = { gate: values(3), up: values(3), down: values(5) };
    return { gate: values(15), up: values(15), down: values(15), biases };
  };

  it('hold biases unrounded behind the matrices, and no gate in the kinds without one', () => {
    for (const activation of ['clamped-swiglu', 'relu'] as const) {
      const shape: ExpertShape = { ...biased, activation };
      const expert = weights();
      const layout = shardLayout(shape);
      const gated = activation !== 'relu';
      expect(layout.matrices.map(({ name }) => name)).toEqual(gated ? ['gate', 'up', 'down'] : ['up', 'down']);
      const shard = packExpert(shape, expert);
      expect(shard.byteLength).toBe(layout.totalBytes);
      const { gate, biases } = unpackExpert(shape, shard);
      expect(gate === null).toBe(!gated);
      expect(biases).toEqual({ ...expert.biases, gate: gated ? expert.biases.gate : null });
      // Without biases and gate a shard is what it was before there were kinds.
      const plain = shardLayout({ ...shape, bias: false });
      expect(shard.subarray(0, plain.totalBytes)).toEqual(packExpert({ ...shape, bias: false }, expert));
    }
  });

  it('refuse a bias that is missing, too short or not finite', () => {
    const expert = weights();
    expect(() => packExpert(biased, { ...expert, biases: null })).toThrow(/gate's bias has 0 values instead of 3/);
    const [bias] = shardLayout(biased).biases;
    const shard = new Uint8Array(shardLayout(biased).totalBytes);
    expect(() => packExpertBias(bias!, Float32Array.of(1, Number.NaN, 2), shard)).toThrow(
      /gate_proj\.bias\[1\] is NaN/,
    );
  });

  it('refuse an unknown kind', () => {
    const unknown = { ...biased, activation: 'swish' } as unknown as ExpertShape;
    expect(() => shardLayout(unknown)).toThrow(/unknown activation swish; use swiglu/);
  });
});
