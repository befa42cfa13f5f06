import { createRng, type Int4Rows } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { unpackExpertRows } from './expert.ts';
import { packQ4Codes } from './format-q4-codes.ts';
import { matrixOf, shardLayout } from './layout.ts';

const shape = { hiddenSize: 70, moeIntermediateSize: 6, quant: 'q4' as const };
const layout = shardLayout(shape);
const up = matrixOf(layout, 'up');
const [rows, cols, blocks] = [6, 70, 3];

function codedRows(scaleOf: (i: number) => number): Int4Rows & { values: Float32Array } {
  const rng = createRng(4);
  // All of −8 … 7, in blocks with and without the ends of that range.
  const codes = Int8Array.from({ length: rows * cols }, (_, i) => (Math.floor(rng() * 16) - 8) >> (i % 3));
  const scales = Float32Array.from({ length: rows * blocks }, (_, i) => scaleOf(i));
  const values = Float32Array.from(codes, (code, i) => {
    const row = Math.floor(i / cols);
    return code * scales[row * blocks + Math.floor((i % cols) / 32)]!;
  });
  return { codes, scales, values };
}

describe('packQ4Codes', () => {
  it('loses nothing where scales are BF16 of at least 2^-14, of either sign', () => {
    const bf16 = (i: number): number => (i % 2 ? -1 : 1) * (1 + (i % 128) / 128) * 2 ** -(i % 15);
    const { values, ...stored } = codedRows(bf16);
    const bytes = new Uint8Array(layout.totalBytes);
    // In two parts, as a packer does.
    const half = (part: number): Int4Rows => ({
      codes: stored.codes.subarray(part * 3 * cols, (part + 1) * 3 * cols),
      scales: stored.scales.subarray(part * 3 * blocks, (part + 1) * 3 * blocks),
    });
    expect(packQ4Codes(up, half(0), bytes, 0)).toBe(true);
    expect(packQ4Codes(up, half(1), bytes, 3)).toBe(true);
    const packed = unpackExpertRows('q4', up, bytes, 0, rows);
    expect(packed.map((value) => value + 0)).toEqual(values.map((value) => value + 0));
  });

  it('rounds other scales to f16, by 2^-11 of each weight at most', () => {
    const { values, ...stored } = codedRows((i) => Math.PI * 0.003 * (1 + i / 7));
    const bytes = new Uint8Array(layout.totalBytes);
    packQ4Codes(up, stored, bytes, 0);
    const packed = unpackExpertRows('q4', up, bytes, 0, rows);
    for (const [i, value] of values.entries()) {
      expect(Math.abs(packed[i]! - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -11);
    }
  });

  it('leaves scales beyond f16 to the general packer', () => {
    const bytes = new Uint8Array(layout.totalBytes);
    expect(
      packQ4Codes(
        up,
        codedRows((i) => (i === 7 ? 7e4 : 1)),
        bytes,
        0,
      ),
    ).toBe(false);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });
});
