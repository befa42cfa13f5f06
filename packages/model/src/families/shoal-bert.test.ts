import { describe, expect, it } from 'vitest';
import { parseModelConfig } from '../config.ts';
import { ModelError } from '../errors.ts';

const small = {
  model_type: 'shoal_bert',
  architectures: ['ShoalBertModel'],
  vocab_size: 96,
  hidden_size: 32,
  intermediate_size: 40,
  moe_intermediate_size: 24,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  max_position_embeddings: 64,
  rope_theta: 10_000,
  layer_norm_eps: 1e-5,
  hidden_act: 'gelu',
  num_experts: 4,
  moe_layers: [1, 2],
  gate: { name: 'expert-choice', capacity_factor: 1.5 },
};

const faultOf = (changes: object): ModelError | undefined => {
  try {
    parseModelConfig({ ...small, ...changes });
  } catch (error) {
    return error as ModelError;
  }
  return undefined;
};

describe('shoal_bert', () => {
  it('reads the gate’s name and its settings, with their defaults', () => {
    const gateOf = (gate: object) => {
      const { sequenceGate, numExpertsPerTok } = parseModelConfig({ ...small, gate });
      return [sequenceGate, numExpertsPerTok];
    };
    expect(gateOf(small.gate)).toEqual([{ name: 'expert-choice', settings: { capacityFactor: 1.5 } }, 2]);
    expect(gateOf({ name: 'soft' })).toEqual([{ name: 'soft', settings: { slotsPerExpert: 1 } }, 1]);
    const top2 = {
      capacity: 3,
      capacityTokenFraction: -1,
      normalizeBeforeDropping: false,
      batchPrioritizedRouting: true,
    };
    const stored = { name: 'top-2-capacity', capacity: 3, batch_prioritized_routing: true };
    expect(gateOf(stored)).toEqual([{ name: 'top-2-capacity', settings: top2 }, 2]);
    expect(parseModelConfig(small).layerKinds).toEqual(['dense', 'moe', 'moe']);
  });

  it.each<[string, object]>([
    ['gate.capacity_factor', { gate: { name: 'expert-choice', capacity_factor: 0 } }],
    ['gate.capacity_factor', { gate: { name: 'expert-choice', capacity_factor: -1 } }],
    ['gate.capacity_factor', { gate: { name: 'top-1-capacity', capacity_factor: 0 } }],
    ['gate.capacity', { gate: { name: 'top-2-capacity', capacity: 0 } }],
    ['gate.slots_per_expert', { gate: { name: 'soft', slots_per_expert: 0 } }],
    ['gate.slots_per_expert', { gate: { name: 'soft', slots_per_expert: -3 } }],
    ['gate.slots_per_expert', { gate: { name: 'expert-choice', slots_per_expert: 2 } }],
    ['gate.slots_per_expert', { gate: { name: 'soft', slots_per_expert: 2000 }, hidden_size: 1024 }],
    ['max_position_embeddings', { max_position_embeddings: 2049 }],
    ['num_experts', { num_experts: 1025 }],
    ['gate.name', { gate: { name: 'expert_choice' } }],
    ['gate.name', { gate: { name: 'top-k', k: 2 } }],
    ['gate.name', { gate: {} }],
    ['gate', { gate: 'soft' }],
    ['num_experts', { gate: { name: 'top-2-capacity' }, num_experts: 1 }],
    ['num_experts', { num_experts: 0 }],
    ['moe_layers', { moe_layers: [1, 3] }],
    ['moe_layers', { moe_layers: [] }],
    ['num_attention_heads', { num_attention_heads: 5 }],
    ['hidden_act', { hidden_act: 'relu' }],
    ['norm_topk_prob', { norm_topk_prob: true }],
  ])('refuses %s by name: %j', (key, changes) => {
    const fault = faultOf(changes);
    expect(fault).toMatchObject({ name: 'ModelError', key });
    expect(fault!.message).toContain(key);
  });
});
