import { createRng } from '@shoal/model';
import { describe, expect, it } from 'vitest';
import { packPanels, panelBytes, unpackPanels, type DenseFormat } from './panels.ts';

function matrix(rows: number, cols: number): Float32Array {
  const rng = createRng(rows * 1000 + cols);
  const normal = () => Math.sqrt(-2 * Math.log(rng() + 1e-12)) * Math.cos(2 * Math.PI * rng());
  return Float32Array.from({ length: rows * cols }, () => 0.02 * normal());
}

function nmse(x: Float32Array, reference: Float32Array): number {
  let error = 0;
  let norm = 0;
  for (let i = 0; i < x.length; i++) {
    error += (x[i]! - reference[i]!) ** 2;
    norm += reference[i]! ** 2;
  }
  return error / norm;
}

/** llama.cpp's Q4_0: d = extreme / −8, codes by truncation of w / d + 8.5. */
function q4_0(values: Float32Array): Float32Array {
  const out = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += 32) {
    const block = values.subarray(start, start + 32);
    const extreme = block.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    const d = extreme / -8;
    for (const [i, w] of block.entries()) out[start + i] = d * (Math.min(15, Math.trunc(w / d + 8.5)) - 8);
  }
  return out;
}

describe('panels', () => {
  it.each<[DenseFormat, number]>([
    ['f32', 0],
    ['f16', 1e-7],
    ['q8', 6e-5],
    ['q4', 9e-3],
  ])('%s comes back within NMSE %f, ragged sizes too', (format, bound) => {
    for (const [rows, cols] of [
      [8, 64],
      [5, 33],
      [1, 7],
    ] as const) {
      const values = matrix(rows, cols);
      const bytes = new Uint8Array(panelBytes(format, rows, cols)).fill(0xaa);
      packPanels(format, values, rows, cols, bytes);
      expect(nmse(unpackPanels(format, bytes, rows, cols), values)).toBeLessThanOrEqual(bound);
    }
  });

  it('loses less with q4 than Q4_0 does', () => {
    const values = matrix(64, 256);
    const bytes = new Uint8Array(panelBytes('q4', 64, 256));
    packPanels('q4', values, 64, 256, bytes);
    expect(nmse(unpackPanels('q4', bytes, 64, 256), values)).toBeLessThan(0.92 * nmse(q4_0(values), values));
  });

  it('refuses what is not a number', () => {
    expect(() => packPanels('q8', Float32Array.of(1, Number.NaN), 1, 2, new Uint8Array(136))).toThrow(/NaN/);
    expect(() => packPanels('f16', Float32Array.of(1e6), 1, 1, new Uint8Array(256))).toThrow(/too large for f16/);
  });
});
