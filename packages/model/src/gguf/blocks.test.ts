import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RowScratch } from '../row-scratch.ts';
import { READABLE_TYPES } from './block-types.ts';
import { type GgufFiles, openGgufFiles } from './files.ts';
import { TensorReader } from './read-rows.ts';

// Random blocks, with scales at the ends of their range, and the float32 values that llama.cpp's C code gives them; written by gguf-py
// (test/golden/make/gguf/blocks.py).
const fixture = join(import.meta.dirname, '../../../../test/golden/fixtures/gguf/blocks.gguf');
const NUM_VALUES = 2048;

let files: GgufFiles;
let reader: TensorReader;

beforeAll(async () => {
  files = await openGgufFiles(fixture);
  reader = new TensorReader(files);
});
afterAll(() => files.close());

const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

describe('blocks', () => {
  it.each(READABLE_TYPES)('%s: the bits that llama.cpp gives', async (type) => {
    expect(files.tensors.get(`${type}.blocks`)!.tensor.type.name).toBe(type);
    const expected = await reader.rows(`${type}.values`, 0, 1, NUM_VALUES, new RowScratch());
    const values = await reader.rows(`${type}.blocks`, 0, 1, NUM_VALUES, new RowScratch());
    expect(bitsOf(values)).toEqual(bitsOf(expected));
  });

  it('MXFP4: codes and scales stand for the same values', async () => {
    const { codes, scales } = await reader.mxfp4Rows('MXFP4.blocks', 0, 1, NUM_VALUES);
    // FP4 E2M1: OCP MX specification 1.0, table 5.
    const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];
    const values = Float32Array.from({ length: NUM_VALUES }, (_, column) => {
      const code = (codes[column >> 1]! >> (4 * (column & 1))) & 15;
      return (code & 8 ? -1 : 1) * magnitudes[code & 7]! * 2 ** (scales[column >> 5]! - 127);
    });
    // In llama.cpp −0 is 0.
    expect(values.map((value) => value + 0)).toEqual(
      await reader.rows('MXFP4.values', 0, 1, NUM_VALUES, new RowScratch()),
    );
  });

  it('Q4_0: codes and scales stand for the same values', async () => {
    const { codes, scales } = await reader.int4Rows('Q4_0.blocks', 0, 1, NUM_VALUES);
    const values = Float32Array.from(codes, (code, column) => code * scales[column >> 5]!);
    const expected = await reader.rows('Q4_0.values', 0, 1, NUM_VALUES, new RowScratch());
    expect(values.map((value) => value + 0)).toEqual(expected.map((value) => value + 0));
  });
});
