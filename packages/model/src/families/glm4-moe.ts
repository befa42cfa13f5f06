import { z } from 'zod';
import {
  commonKeys,
  dimension,
  expertCount,
  type Family,
  layerCount,
  refuse,
  refuseSeveralMtpModules,
  refuseUnsupportedCommon,
  storedAsNamed,
} from './family.ts';
import { noauxGate, noauxKeys, refuseGroups } from './gates.ts';
import { gqaModelConfig, headKeys } from './gqa.ts';
import { denseFirst } from './layer-types.ts';

const schema = z.object({
  ...commonKeys,
  ...headKeys,
  ...noauxKeys,
  n_group: expertCount.default(1),
  topk_group: expertCount.default(1),
  moe_intermediate_size: dimension,
  first_k_dense_replace: layerCount,
  n_routed_experts: expertCount,
  n_shared_experts: layerCount.nullable(),
  num_nextn_predict_layers: layerCount.default(0),
  use_qk_norm: z.boolean().default(false),
});

/** The half of each head that all published models of GLM-4 rotate, where a config doesn't say. */
const GLM_ROTARY_FACTOR = 0.5;

/** GLM-4.5, 4.5-Air, 4.6 and 4.7 (paper 2508.06471): GQA with DeepSeek-V3's gate and MTP module. */
export const glm4Moe: Family<typeof schema> = {
  modelType: 'glm4_moe',
  architectures: ['Glm4MoeForCausalLM'],
  schema,
  ignoredKeys: [],
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    refuseUnsupportedCommon(raw, where);
    refuseSeveralMtpModules(raw, where);
    const { num_hidden_layers: layers, num_nextn_predict_layers: modules, n_routed_experts: experts } = raw;
    const { first_k_dense_replace: first } = raw;
    refuse(raw, where, first > layers, 'first_k_dense_replace', `num_hidden_layers is ${layers}`);
    const gate = noauxGate(raw, where);
    refuseGroups(raw, gate, where);
    return gqaModelConfig(
      'glm4_moe',
      { ...raw, num_experts: experts },
      {
        moeIntermediateSize: raw.moe_intermediate_size,
        sharedIntermediateSize: (raw.n_shared_experts ?? 0) * raw.moe_intermediate_size,
        gate,
        attention: { qkNorm: raw.use_qk_norm ? 'per-head' : 'none', bias: { qkv: raw.attention_bias, o: false } },
        partialRotaryFactor: GLM_ROTARY_FACTOR,
        layerKinds: denseFirst(layers + modules, first),
        numNextnPredictLayers: modules,
      },
      where,
    );
  },
};
