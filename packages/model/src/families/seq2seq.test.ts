import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../config.ts';
import { ModelError } from '../errors.ts';
import { answerLayers, moeLayers } from '../model-config.ts';
import { nllbMoe54b, switchBase } from '../testing/published-models/seq2seq-configs.ts';

const faultOf = (json: object, changes: object): ModelError | undefined => {
  try {
    parseModelConfig({ ...json, ...changes });
  } catch (error) {
    return error as ModelError;
  }
  return undefined;
};

describe('switch_transformers', () => {
  const json = switchBase(8);
  const kinds = (changes: object) => moeLayers(parseModelConfig({ ...json, ...changes }));

  it('reads the published config: every second layer of both stacks has experts, numbered encoder first', () => {
    const config = parseModelConfig(json);
    expect(moeLayers(config)).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23]);
    expect(answerLayers(config)).toEqual([13, 15, 17, 19, 21, 23]);
    expect(config.sequenceGate).toEqual({ name: 'top-1-capacity', settings: { capacity: 64 } });
    expect(config).toMatchObject({ logitsDivisor: Math.sqrt(768), expert: { activation: 'relu', bias: false } });
    expect(config.seq2seq).toMatchObject({ encoderLayers: 12, norm: 'rms', targetPrefix: [0] });
  });

  it('takes the step of sparse layers as transformers does: as given, or from their number', () => {
    const step = { encoder_sparse_step: null, decoder_sparse_step: null, num_layers: 4, num_decoder_layers: 3 };
    const sparse = (encoder: number, decoder: number) => ({
      num_sparse_encoder_layers: encoder,
      num_sparse_decoder_layers: decoder,
    });
    expect(kinds({ ...step, ...sparse(1, 3) })).toEqual([1, 4, 5, 6]);
    // transformers means no sparse layer by 0, and makes one.
    expect(kinds({ ...step, ...sparse(0, 0) })).toEqual([1, 5]);
    expect(kinds({ ...step, ...sparse(9, 1), encoder_sparse_step: 3 })).toEqual([1, 5]);
  });

  it('takes a token that each answer begins with into the target', () => {
    expect(parseModelConfig({ ...json, forced_bos_token_id: 7 }).seq2seq!.targetPrefix).toEqual([0, 7]);
    expect(parseModelConfig({ ...json, decoder_start_token_id: null, bos_token_id: 3 }).seq2seq!.targetPrefix).toEqual([
      3,
    ]);
  });

  it.each<[string, object]>([
    ['expert_capacity', { expert_capacity: 0 }],
    ['expert_capacity', { expert_capacity: -3 }],
    ['expert_capacity', { expert_capacity: 1.5 }],
    ['dense_act_fn', { dense_act_fn: 'gated-gelu', feed_forward_proj: 'gated-gelu' }],
    ['is_gated_act', { is_gated_act: true }],
    ['feed_forward_proj', { feed_forward_proj: 'gelu' }],
    ['router_dtype', { router_dtype: 'bfloat16' }],
    ['router_type', { router_type: 'experts_masked' }],
    ['tie_word_embeddings', { tie_word_embeddings: false }],
    ['is_encoder_decoder', { is_encoder_decoder: false }],
    ['decoder_start_token_id', { decoder_start_token_id: null }],
    ['decoder_start_token_id', { decoder_start_token_id: 40_000 }],
    ['relative_attention_num_buckets', { relative_attention_num_buckets: 30 }],
    ['relative_attention_max_distance', { relative_attention_max_distance: 16 }],
    ['num_sparse_encoder_layers', { encoder_sparse_step: 0, decoder_sparse_step: 0 }],
    ['forced_eos_token_id', { forced_eos_token_id: 1 }],
  ])('refuses a config whose %s it does not compute, by name', (key, changes) => {
    expect(faultOf(json, changes)).toMatchObject({ name: 'ModelError', key });
  });
});

describe('nllb-moe', () => {
  it('reads the published config: every fourth layer has experts, whose outputs count as training left them', () => {
    const config = parseModelConfig(nllbMoe54b);
    expect(moeLayers(config)).toEqual([3, 7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47]);
    expect(config.sequenceGate).toMatchObject({
      name: 'top-2-capacity',
      settings: {
        capacity: 64,
        capacityTokenFraction: 1,
        normalizeBeforeDropping: true,
        batchPrioritizedRouting: false,
      },
      factor: 0.8,
    });
    expect(config).toMatchObject({ embeddingMultiplier: Math.sqrt(2048), expert: { activation: 'relu', bias: true } });
    expect(config.seq2seq).toEqual({
      encoderLayers: 24,
      norm: 'layer',
      positions: { kind: 'sinusoid', padTokenId: 1 },
      targetPrefix: [2],
    });
  });

  it.each<[string, object]>([
    ['expert_capacity', { expert_capacity: 0 }],
    ['moe_eval_capacity_token_fraction', { moe_eval_capacity_token_fraction: 0 }],
    ['moe_eval_capacity_token_fraction', { moe_eval_capacity_token_fraction: 2 }],
    ['second_expert_policy', { second_expert_policy: 'sampling' }],
    ['second_expert_policy', { second_expert_policy: 'random' }],
    ['moe_token_dropout', { moe_token_dropout: 1 }],
    ['activation_function', { activation_function: 'swish' }],
    ['decoder_ffn_dim', { decoder_ffn_dim: 4096 }],
    ['decoder_attention_heads', { decoder_attention_heads: 8 }],
    ['encoder_attention_heads', { encoder_attention_heads: 24, decoder_attention_heads: 24 }],
    ['num_hidden_layers', { num_hidden_layers: 12 }],
    ['num_experts', { num_experts: 1 }],
    ['pad_token_id', { pad_token_id: null }],
    ['encoder_sparse_step', { encoder_sparse_step: 0, decoder_sparse_step: 0 }],
  ])('refuses a config whose %s it does not compute, by name', (key, changes) => {
    expect(faultOf(nllbMoe54b, changes)).toMatchObject({ name: 'ModelError', key });
  });
});
