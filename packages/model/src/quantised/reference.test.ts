import { describe, expect, it } from 'vitest';
import { decodeMxfp4 } from '../mxfp4.ts';
import { TensorSpec } from '../tensors.ts';
import {
  type QuantisedCase,
  quantisedCheckpoint,
  readQuantisedCases,
  serialise,
  specsOf,
} from '../testing/quantised-fixtures.ts';

const cases = readQuantisedCases();
const open = ({ tensors, quantisation }: QuantisedCase) => quantisedCheckpoint(serialise(tensors), quantisation);

/** Of zeros, which some libraries give no sign. */
const unsigned = (values: Float32Array): Float32Array => values.map((value) => value + 0);

const caseNamed = (name: string): QuantisedCase => cases.find((one) => one.name === name)!;

describe('a quantised matrix', () => {
  it.each(cases.map((one) => [one.name, one] as const))(
    'of %s is what its own library dequantises it to, bit for bit, in whatever rows it is read',
    async (_, one) => {
      const checkpoint = open(one);
      for (const [index, spec] of specsOf(one).entries()) {
        const [rows, cols] = spec.shape as [number, number];
        const expected = unsigned(one.expected).subarray(index * rows * cols, (index + 1) * rows * cols);
        expect(unsigned(await checkpoint.read(spec))).toEqual(expected);
        for (const [first, count] of [
          [0, 3],
          [1, rows - 2],
          [rows - 1, 1],
        ] as const) {
          const part = await checkpoint.readRows(spec, first, count);
          expect(unsigned(part)).toEqual(expected.subarray(first * cols, (first + count) * cols));
        }
      }
    },
  );

  it.each([
    ['every second row', { first: 1, step: 2 }],
    ['the second half', { first: 5, step: 1 }],
  ])('in MXFP4 may be %s of a stack, whose plain form would be transposed', async (_, rows) => {
    const one = caseNamed('mxfp4-blocks');
    const checkpoint = open(one);
    const stored = { name: 'mxfp4-blocks.weight', index: 2, of: 3, rows, transposed: true };
    const spec = new TensorSpec('up', [5, 96], stored);
    const at = (row: number): number => (2 * 10 + rows.first + row * rows.step) * 96;
    const expected = [0, 1, 2, 3, 4].flatMap((row) => [...one.expected.subarray(at(row), at(row) + 96)]);
    expect([...(await checkpoint.read(spec))]).toEqual(expected);
    expect([...(await checkpoint.readRows(spec, 3, 2))]).toEqual(expected.slice(3 * 96));
    const coded = (await checkpoint.mxfp4Rows!(spec, 3, 2))!;
    expect([...decodeMxfp4(coded, 96)]).toEqual(expected.slice(3 * 96));
    // Half of one of three matrices, with its scales.
    expect(checkpoint.bytesOf(spec)).toBe((10 * 3 * 17) / 2);
  });

  it('may be a layer of its own where the family stacks experts', async () => {
    const one = caseNamed('int4-groups-of-32');
    const tensors = new Map(
      [...one.tensors].map(([name, tensor]) => [name.replace(one.name, 'moe.experts.1.up_proj'), tensor]),
    );
    const checkpoint = quantisedCheckpoint(serialise(tensors), one.quantisation);
    const rows = { first: 1, step: 2 };
    const stored = { name: 'moe.experts.gate_up_proj', index: 1, rows, transposed: true };
    const spec = new TensorSpec('model.layers.0.mlp.experts.1.up_proj.weight', one.shape, stored);
    checkpoint.check([spec]);
    expect(unsigned(await checkpoint.readRows(spec, 2, 1))).toEqual(unsigned(one.expected.subarray(2 * 96, 3 * 96)));
  });

  it.each(['int4-groups-of-32', 'int4-groups-of-128', 'int4-channel', 'gptq-4-bits'])(
    'of %s gives its codes, which are its weights exactly',
    async (name) => {
      const one = caseNamed(name);
      const [spec] = specsOf(one) as [TensorSpec];
      const [rows, cols] = spec.shape as [number, number];
      const { codes, scales } = (await open(one).int4Rows!(spec, 2, rows - 2))!;
      const blocks = Math.ceil(cols / 32);
      const values = Float32Array.from(codes, (code, i) => {
        const row = Math.floor(i / cols);
        return code * scales[row * blocks + Math.floor((i - row * cols) / 32)]!;
      });
      expect(unsigned(values)).toEqual(unsigned(one.expected.subarray(2 * cols)));
    },
  );

  it.each(['int4-asymmetric', 'gptq-asymmetric', 'gptq-reordered', 'gptq-8-bits', 'awq', 'fp8-blocks', 'mxfp4-blocks'])(
    'of %s has no codes of 4 bits around zero with groups of neighbouring columns',
    async (name) => {
      const one = caseNamed(name);
      expect(await open(one).int4Rows!(specsOf(one)[0]!, 0, 4)).toBeUndefined();
    },
  );
});
