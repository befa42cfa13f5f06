import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../config.ts';
import { type LayerAttention, moeLayers } from '../model-config.ts';
import { KvCache, plainMhaWidth } from '../kv-cache.ts';
import { expertTensors, listDenseTensors, listTensorSpecs } from '../tensors.ts';

const dir = join(import.meta.dirname, '../testing/published-configs');
const published = (name: string) =>
  parseModelConfig(JSON.parse(readFileSync(join(dir, `${name}.json`), 'utf8')), `${name}/config.json`);
const names = readdirSync(dir).map((file) => file.replace('.json', ''));

/** Weights that a checkpoint of this config holds, MTP module and vision tower apart. */
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

const FULL: LayerAttention = { span: { kind: 'full' }, rope: true };
const CHUNK: LayerAttention = { span: { kind: 'chunk', positions: 8192 }, rope: true };

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
    ['gpt-oss-20b', 20.9],
    ['gpt-oss-120b', 116.8],
    ['GLM-4.7-Flash', 30],
    ['MiniMax-M2.5', 229],
    // The paper has 1.04 trillion.
    ['Kimi-K2-Instruct', 1026],
    ['Kimi-K2.5', 1026],
    ['Llama-4-Maverick-17B-128E-Instruct', 400],
    ['Qwen1.5-MoE-A2.7B', 14.3],
    ['Qwen2-57B-A14B', 57.4],
    ['Qwen3-Coder-30B-A3B-Instruct', 30.5],
    ['granite-3.1-1b-a400m-instruct', 1.33],
    ['dots.llm1.inst', 142.8],
    ['ERNIE-4.5-21B-A3B-PT', 21.8],
    ['Hunyuan-A13B-Instruct', 80.4],
    // Without the vision tower; with it 109.
    ['Llama-4-Scout-17B-16E-Instruct', 107.8],
    // The card has 106, and the hub counts 110.5 with the MTP module and its copies of embedding and head.
    ['GLM-4.5-Air', 106.8],
    // The card has 355, and the hub counts 358.3.
    ['GLM-4.5', 352.8],
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
    ['gpt-oss-20b', 24, { kind: 'gqa', sinks: true, bias: { qkv: true, o: true } }, { hasLogitBias: true }],
    ['GLM-4.5-Air', 45, { qkNorm: 'none', bias: { qkv: true, o: false } }, { hasBias: true, routedScalingFactor: 1 }],
    ['GLM-4.5', 89, { qkNorm: 'per-head', headDim: 128 }, { scoring: 'sigmoid', routedScalingFactor: 2.5 }],
    ['GLM-4.7-Flash', 46, { kind: 'mla', vHeadDim: 256, qLoraRank: 768 }, { routedScalingFactor: 1.8, nGroup: 1 }],
    ['MiniMax-M2.5', 62, { qkNorm: 'whole', numKeyValueHeads: 8 }, { scoring: 'sigmoid', scaleWhenNormalised: false }],
    ['Kimi-K2-Instruct', 60, { kind: 'mla', numAttentionHeads: 64 }, { routedScalingFactor: 2.827 }],
    ['Kimi-K2.5', 60, { kind: 'mla', kvLoraRank: 512 }, { hasBias: true }],
    [
      'Llama-4-Scout-17B-16E-Instruct',
      48,
      { qkNorm: 'l2', temperature: { floor: 8192, scale: 0.1 } },
      { scalesInput: true, scoring: 'sigmoid' },
    ],
    ['Llama-4-Maverick-17B-128E-Instruct', 24, { qkNorm: 'none', temperature: null }, { normTopkProb: false }],
    ['Qwen1.5-MoE-A2.7B', 24, { bias: { qkv: true, o: false } }, { normTopkProb: false }],
    ['granite-3.1-1b-a400m-instruct', 24, { softmaxScale: 0.015625 }, { scoring: 'softmax', normTopkProb: true }],
    ['dots.llm1.inst', 61, { qkNorm: 'per-head', numKeyValueHeads: 32 }, { routedScalingFactor: 2.5 }],
    ['ERNIE-4.5-21B-A3B-PT', 27, { numKeyValueHeads: 4, headDim: 128 }, { scoring: 'softmax', hasBias: true }],
    ['Hunyuan-A13B-Instruct', 32, { normAfterRope: true, headDim: 128 }, { scoring: 'softmax', normTopkProb: true }],
  ])('%s has %i MoE layers and its own attention and gate', (name, layers, attention, gate) => {
    const config = published(name);
    expect(moeLayers(config)).toHaveLength(layers);
    expect(config).toMatchObject({ attention, gate });
  });

  it.each<[string, number, LayerAttention, number, LayerAttention]>([
    ['gpt-oss-20b', 0, { span: { kind: 'window', positions: 128 }, rope: true }, 23, FULL],
    ['Llama-4-Scout-17B-16E-Instruct', 46, CHUNK, 47, { ...FULL, rope: false }],
    ['Qwen2-57B-A14B', 0, FULL, 27, FULL],
    ['dots.llm1.inst', 0, FULL, 61, FULL],
  ])('%s: layer %i has the span %j, and layer %i %j', (name, early, one, late, other) => {
    const { layerAttention } = published(name);
    expect(layerAttention[early]).toEqual(one);
    expect(layerAttention[late]).toEqual(other);
  });

  it.each([
    ['GLM-4.5', 64, 'halves'],
    ['MiniMax-M2.5', 64, 'halves'],
    ['gpt-oss-20b', 64, 'halves'],
    ['Llama-4-Scout-17B-16E-Instruct', 128, 'interleaved'],
    ['ERNIE-4.5-21B-A3B-PT', 128, 'interleaved'],
  ])('%s rotates %i values of a head, in %s', (name, dim, pairs) => {
    expect(published(name).rope).toMatchObject({ dim, pairs });
  });

  it('leaves an unpublished MTP module, and one of another kind, aside', () => {
    expect(published('MiniMax-M2.5')).toMatchObject({ numNextnPredictLayers: 0, eosTokenIds: [200020] });
    expect(published('ERNIE-4.5-21B-A3B-PT').numNextnPredictLayers).toBe(0);
    expect(published('GLM-4.5-Air')).toMatchObject({ numNextnPredictLayers: 1, eosTokenIds: [151329, 151336, 151338] });
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
    const oss = expertTensors(published('gpt-oss-20b'), 3, 7);
    const stack = 'model.layers.3.mlp.experts.gate_up_proj';
    expect(oss.up.stored).toEqual({ name: stack, index: 7, rows: { first: 1, step: 2 }, transposed: true });
    expect(oss.biases!.gate!.stored).toEqual({ name: `${stack}_bias`, index: 7, rows: { first: 0, step: 2 } });
    const scout = expertTensors(published('Llama-4-Scout-17B-16E-Instruct'), 3, 7);
    expect(scout.up.stored).toEqual({
      name: 'language_model.model.layers.3.feed_forward.experts.gate_up_proj',
      index: 7,
      rows: { first: 8192, step: 1 },
      transposed: true,
    });
    const olmoe = listDenseTensors(published('OLMoE-1B-7B-0924'));
    expect(olmoe.find(({ name }) => name.endsWith('0.self_attn.k_norm.weight'))?.shape).toEqual([2048]);
  });
});
