import { z } from 'zod';
import { MAX_LAYERS } from '../families/family.ts';
import { architectureOf, facts } from './architectures.ts';
import { type ConfigSource, decimal } from './config-source.ts';
import type { GgufFiles } from './files.ts';
import type { Metadata } from './metadata.ts';
import { ROPE_FACTORS } from './names.ts';
import { readRopeFactors } from './rope-factors.ts';
import { tokenizerJson } from './tokenizer.ts';

/** The config.json, as it is published for the family, of the model in a GGUF file. */
export async function modelConfigJson(metadata: Metadata, files: GgufFiles): Promise<Record<string, unknown>> {
  const { tensors } = files;
  const architecture = architectureOf(metadata);
  const { bosTokenId, eosTokenIds } = tokenizerJson(metadata);
  const embeddings = tensors.get('token_embd.weight')?.tensor.shape;
  const hiddenSize = metadata.number('{arch}.embedding_length');
  const numHeads = metadata.same('{arch}.attention.head_count') ?? metadata.number('{arch}.attention.head_count');
  const source: ConfigSource = {
    metadata,
    has: (tensor) => tensors.has(tensor),
    numHiddenLayers: hiddenLayers(metadata),
    numHeads,
    headDim: metadata.findNumber('{arch}.attention.key_length') ?? hiddenSize / numHeads,
  };
  const factors = architecture.readsRopeFactors ? await readRopeFactors(files, facts.rotated(source) / 2) : undefined;
  const common = {
    vocab_size: embeddings?.[0] ?? metadata.find('tokenizer.ggml.tokens', z.array(z.string()))?.length,
    hidden_size: hiddenSize,
    num_hidden_layers: source.numHiddenLayers,
    num_attention_heads: numHeads,
    num_key_value_heads: metadata.same('{arch}.attention.head_count_kv') ?? numHeads,
    num_experts_per_tok: metadata.number('{arch}.expert_used_count'),
    max_position_embeddings: metadata.number('{arch}.context_length'),
    rms_norm_eps: decimal(metadata.number('{arch}.attention.layer_norm_rms_epsilon')),
    hidden_act: 'silu',
    tie_word_embeddings: !tensors.has('output.weight'),
    rope_theta: decimal(metadata.findNumber('{arch}.rope.freq_base') ?? 10_000),
    rope_scaling: ropeScaling(metadata, factors),
    ...(bosTokenId === null ? {} : { bos_token_id: bosTokenId }),
    eos_token_id: eosTokenIds,
    ...(hasMxfp4Experts(tensors) && { quantization_config: { quant_method: 'mxfp4' } }),
  };
  return architecture.configJson(common, source);
}

/** The layers of the main model. They are counted before anything is made for each. */
function hiddenLayers(metadata: Metadata): number {
  const blocks = metadata.number('{arch}.block_count');
  const nextn = metadata.findNumber('{arch}.nextn_predict_layers') ?? 0;
  const layers = blocks - nextn;
  if (Number.isInteger(blocks) && Number.isInteger(nextn) && nextn >= 0 && layers >= 1 && layers <= MAX_LAYERS) {
    return layers;
  }
  const modules = nextn === 0 ? '' : `, and nextn_predict_layers ${nextn}`;
  throw metadata.bad('{arch}.block_count', `is ${blocks}${modules}: 1 to ${MAX_LAYERS} layers are read`);
}

/** Whether all experts are in MXFP4, of which config.json tells as it does for safetensors. */
function hasMxfp4Experts(tensors: GgufFiles['tensors']): boolean {
  const experts = [...tensors].filter(([name]) => name.endsWith('_exps.weight'));
  return experts.length > 0 && experts.every(([, { tensor }]) => tensor.type.name === 'MXFP4');
}

/** RoPE's scaling as config.json has it; null without one. */
function ropeScaling(metadata: Metadata, factors: number[] | undefined): Record<string, unknown> | null {
  const type = metadata.find('{arch}.rope.scaling.type', z.string()) ?? 'none';
  if (factors) {
    const problem = `is "${type}" beside ${ROPE_FACTORS}: both at a time are not computed`;
    if (type !== 'none') throw metadata.bad('{arch}.rope.scaling.type', problem);
    return { rope_type: 'longrope', short_factor: factors, long_factor: factors, attention_factor: 1 };
  }
  if (type === 'none') return null;
  const factor = decimal(metadata.number('{arch}.rope.scaling.factor'));
  if (type !== 'yarn') return { type, factor };
  const found = (name: string, key: string): Record<string, number> => {
    const value = metadata.findNumber(`{arch}.rope.scaling.${key}`);
    return value === undefined ? {} : { [name]: decimal(value) };
  };
  return {
    type,
    factor,
    original_max_position_embeddings: metadata.number('{arch}.rope.scaling.original_context_length'),
    ...found('beta_fast', 'yarn_beta_fast'),
    ...found('beta_slow', 'yarn_beta_slow'),
    ...found('attention_factor', 'yarn_attn_factor'),
  };
}
