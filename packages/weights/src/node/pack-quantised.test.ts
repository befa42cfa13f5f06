import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type StoredTensor, writeSmallModel } from '../testing/small-model.ts';
import { packModel } from './pack-model.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shoal-pack-quantised-'));
});
afterEach(() => rm(folder, { recursive: true }));

const isExpert = (name: string): boolean => name.includes('.experts.');
const u8 = (values: Float32Array | Uint16Array | Int32Array | BigInt64Array): Uint8Array =>
  new Uint8Array(values.buffer);

/** compressed-tensors' int4, with scales in BF16 as Kimi-K2 has them. */
function asInt4(groupSize: number) {
  const weights = { num_bits: 4, type: 'int', strategy: 'group', group_size: groupSize, symmetric: true };
  const group = { targets: ['Linear'], weights };
  const quantization = {
    quant_method: 'compressed-tensors',
    format: 'pack-quantized',
    config_groups: { group_0: group },
  };
  const store = (name: string, shape: readonly number[], values: Float32Array): StoredTensor[] | undefined => {
    if (!isExpert(name)) return undefined;
    const [rows, cols] = shape as [number, number];
    const scales = new Uint16Array((rows * cols) / groupSize);
    const words = new Int32Array((rows * cols) / 8);
    for (let i = 0; i < values.length; i++) {
      // Of 1/7 of the largest weight, which some groups do not have: their largest code is smaller.
      scales[Math.floor(i / groupSize)] = 0x3e12;
      const code = Math.max(-8, Math.min(7, Math.round(values[i]! / 0.142578125)));
      words[i >> 3]! |= (code + 8) << ((i & 7) * 4);
    }
    return [
      { name: `${name}_packed`, dtype: 'I32', shape: [rows, cols / 8], bytes: u8(words) },
      { name: `${name}_scale`, dtype: 'BF16', shape: [rows, cols / groupSize], bytes: u8(scales) },
      { name: `${name}_shape`, dtype: 'I64', shape: [2], bytes: u8(BigInt64Array.of(BigInt(rows), BigInt(cols))) },
    ];
  };
  return { quantization, store };
}

describe('packModel of a quantised checkpoint', () => {
  it.each([32, 64])('as q4 changes nothing of 4-bit integers in groups of %i', async (groupSize) => {
    const { quantization, store } = asInt4(groupSize);
    const modelDir = join(folder, 'model');
    const sizes = { hidden_size: 128, moe_intermediate_size: 64, quantization_config: quantization };
    await writeSmallModel(modelDir, 1, [], { config: sizes, store });
    const outDir = join(folder, 'out');
    const manifest = await packModel({ modelDir, outDir, quant: 'auto', measure: true, threads: 0 });
    expect([manifest.shape.quant, manifest.dense.format]).toEqual(['q4', 'q8']);
    const experts = Object.entries(manifest.nmse!).filter(([kind]) => kind.startsWith('mlp.experts.'));
    expect(experts.map(([, nmse]) => nmse)).toEqual([0, 0, 0]);
    // What is not quantised in the checkpoint is rounded.
    expect(manifest.nmse!['self_attn.o_proj']).toBeGreaterThan(0);
  });

  it('by default and as auto keeps the bits of MXFP4', async () => {
    const args = { num_bits: 4, type: 'float', strategy: 'group', group_size: 32, symmetric: true };
    const format = 'mxfp4-pack-quantized';
    const config_groups = { group_0: { targets: ['Linear'], weights: args } };
    const store = (name: string, shape: readonly number[], values: Float32Array): StoredTensor[] | undefined => {
      if (!isExpert(name)) return undefined;
      const [rows, cols] = shape as [number, number];
      const codes = Uint8Array.from({ length: values.length / 2 }, (_, i) => Math.floor(255 * Math.abs(values[i]!)));
      const scales = Uint8Array.from({ length: values.length / 32 }, (_, i) => 110 + (i % 30));
      return [
        { name: `${name}_packed`, dtype: 'U8', shape: [rows, cols / 2], bytes: codes },
        { name: `${name}_scale`, dtype: 'U8', shape: [rows, cols / 32], bytes: scales },
      ];
    };
    const quantization_config = { quant_method: 'compressed-tensors', format, config_groups };
    const modelDir = join(folder, 'model');
    const sizes = { hidden_size: 96, moe_intermediate_size: 32, quantization_config };
    await writeSmallModel(modelDir, 1, [], { config: sizes, store });
    for (const [quant, dense] of [
      ['auto', 'q8'],
      [undefined, 'f16'],
    ] as const) {
      const outDir = join(folder, `${quant}`);
      const manifest = await packModel({ modelDir, outDir, quant, measure: true, threads: 0 });
      expect([manifest.shape.quant, manifest.dense.format]).toEqual(['mxfp4', dense]);
      const experts = Object.entries(manifest.nmse!).filter(([kind]) => kind.startsWith('mlp.experts.'));
      expect(experts.map(([, nmse]) => nmse)).toEqual([0, 0, 0]);
    }
  });
});
