import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../config.ts';
import { moeLayers } from '../model-config.ts';
import { KvCache, plainMhaWidth } from '../kv-cache.ts';
import { expertTensors, listDenseTensors, listTensorSpecs } from '../tensors.ts';

const dir = join(import.meta.dirname, '../testing/published-configs');
const published = (name: string) =>
  parseModelConfig(JSON.parse(readFileSync(join(dir, `${name}.json`), 'utf8')), `${name}/config.json`);
const names = readdirSync(dir).map((file) => file.replace('.json', ''));

/** Weights that a checkpoint of this config holds, MTP module apart. */
function parameters(name: string): number {
  const config = published(name);
  const size = ({ shape }: { shape: readonly number[] }) => shape.reduce((a, b) => a * b, 1);
  const mtp = `model.layers.${config.numHiddenLayers}.`;
  const dense = listDenseTensors(config).filter((tensor) => !tensor.name.startsWith(mtp));
  const expert = listTensorSpecs(expertTensors(config, moeLayers(config)[0]!, 0)).reduce(
    (sum, spec) => sum + size(spec),
    0,
  );
  return dense.reduce((sum, tensor) => sum + size(tensor), moeLayers(config).length * config.nRoutedExperts * expert);
}

describe('published configs', () => {
  // Parameters as the models' own papers and cards state them, in billions.
  it.each([
    ['DeepSeek-V2-Lite', 15.7],
    ['DeepSeek-V2', 236],
    ['DeepSeek-V3', 671],
    ['DeepSeek-R1', 671],
    ['Moonlight-16B-A3B', 16],
    ['Qwen3-30B-A3B', 30.5],
    ['Qwen3-235B-A22B', 235],
    ['OLMoE-1B-7B-0924', 6.9],
    ['Mixtral-8x7B-v0.1', 46.7],
  ])('%s parses, and its tensors are as many as published: %f billion', (name, billions) => {
    expect(names).toContain(name);
    expect(parameters(name) / 1e9 / billions).toBeCloseTo(1, 2);
  });

  it.each([
    ['DeepSeek-V2-Lite', 26, { kind: 'mla', qLoraRank: null }, { scoring: 'softmax', nGroup: 1, normTopkProb: false }],
    ['DeepSeek-V2', 59, { qLoraRank: 1536 }, { nGroup: 8, topkGroup: 3, groupScore: 'max', routedScalingFactor: 16 }],
    ['DeepSeek-V3', 58, { vHeadDim: 128 }, { scoring: 'sigmoid', nGroup: 8, topkGroup: 4, normTopkProb: true }],
    ['Moonlight-16B-A3B', 26, { qLoraRank: null }, { hasBias: true, nGroup: 1, routedScalingFactor: 2.446 }],
    ['Qwen3-30B-A3B', 48, { kind: 'gqa', numKeyValueHeads: 4, qkNorm: 'per-head' }, { normTopkProb: true }],
    ['OLMoE-1B-7B-0924', 16, { kind: 'gqa', headDim: 128, qkNorm: 'whole', clipQkv: null }, { normTopkProb: false }],
    ['Mixtral-8x7B-v0.1', 32, { numKeyValueHeads: 8, qkNorm: 'none' }, { scoring: 'softmax', normTopkProb: true }],
  ])('%s has %i MoE layers and its own attention and gate', (name, layers, attention, gate) => {
    const config = published(name);
    expect(moeLayers(config)).toHaveLength(layers);
    expect(config).toMatchObject({ attention, gate });
  });

  it('multiplies the scores of V3 and V2-Lite by YaRN’s squared temperature, and those of Moonlight by nothing', () => {
    const m = (mscaleAllDim: number) => 0.1 * mscaleAllDim * Math.log(40) + 1;
    expect(published('DeepSeek-V3').attention.softmaxScale).toBeCloseTo(m(1) ** 2 / Math.sqrt(192), 12);
    const lite = JSON.parse(readFileSync(join(dir, 'DeepSeek-V2-Lite.json'), 'utf8')) as {
      rope_scaling: { mscale_all_dim: number };
    };
    const scale = m(lite.rope_scaling.mscale_all_dim) ** 2 / Math.sqrt(192);
    expect(published('DeepSeek-V2-Lite').attention.softmaxScale).toBeCloseTo(scale, 12);
    expect(published('Moonlight-16B-A3B').attention.softmaxScale).toBeCloseTo(1 / Math.sqrt(192), 12);
    expect(published('DeepSeek-V3').rope.attentionFactor).toBe(1);
  });

  it('keeps of V3 576 values a layer, where plain attention would keep 56.9 times as many', () => {
    const config = published('DeepSeek-V3');
    const cache = new KvCache(config);
    expect(cache.width).toBe(576);
    expect((61 * cache.width * 2).toLocaleString('en')).toBe('70,272');
    expect((61 * plainMhaWidth(config.attention) * 2).toLocaleString('en')).toBe('3,997,696');
  });

  it('names tensors as each family stores them', () => {
    const mixtral = published('Mixtral-8x7B-v0.1');
    expect(expertTensors(mixtral, 3, 7).down).toMatchObject({
      stored: { name: 'model.layers.3.block_sparse_moe.experts.7.w2.weight' },
      shape: [4096, 14336],
    });
    expect(listDenseTensors(mixtral).map(({ stored }) => stored.name)).toContain(
      'model.layers.3.block_sparse_moe.gate.weight',
    );
    const qwen = listDenseTensors(published('Qwen3-30B-A3B'));
    expect(qwen.find(({ name }) => name.endsWith('0.self_attn.k_norm.weight'))?.shape).toEqual([128]);
    const olmoe = listDenseTensors(published('OLMoE-1B-7B-0924'));
    expect(olmoe.find(({ name }) => name.endsWith('0.self_attn.k_norm.weight'))?.shape).toEqual([2048]);
  });
});
