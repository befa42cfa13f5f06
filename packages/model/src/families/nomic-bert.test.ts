import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../config.ts';
import { ModelError } from '../errors.ts';
import { nomicEmbed } from '../testing/published-models/more-configs.ts';

const faultOf = (changes: object): ModelError | undefined => {
  try {
    parseModelConfig({ ...nomicEmbed, ...changes });
  } catch (error) {
    return error as ModelError;
  }
  return undefined;
};

describe('nomic_bert', () => {
  it('reads the published config: experts in every other layer, weights that are not normalised', () => {
    const config = parseModelConfig(nomicEmbed);
    expect(config.layerKinds.slice(0, 4)).toEqual(['dense', 'moe', 'dense', 'moe']);
    expect(config.gate.normTopkProb).toBe(false);
    expect(config.expert).toEqual({ activation: 'gelu', bias: false });
    expect(parseModelConfig({ ...nomicEmbed, vocab_size: 250_002 }).vocabSize).toBe(250_048);
  });

  it.each<[string, object]>([
    ['activation_function', { activation_function: 'gelu_new' }],
    ['prenorm', { prenorm: true }],
    ['causal', { causal: true }],
    ['use_rms_norm', { use_rms_norm: true }],
    ['rotary_scaling_factor', { rotary_scaling_factor: 2 }],
    ['moe_normalize_expert_weights', { moe_normalize_expert_weights: true }],
    ['num_shared_experts', { num_shared_experts: 1 }],
    ['num_experts', { moe_every_n_layers: 0 }],
    ['num_experts', { num_experts: 0 }],
    ['moe_top_k', { moe_top_k: 9 }],
    ['n_head', { n_head: 7 }],
    ['quantization_config', { quantization_config: { quant_method: 'gptq' } }],
  ])('refuses a config whose %s it does not compute, by name', (key, changes) => {
    expect(faultOf(changes)).toMatchObject({ name: 'ModelError', key });
  });
});
