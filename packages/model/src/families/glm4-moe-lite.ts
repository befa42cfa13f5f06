import { z } from 'zod';
import type { LayerKind } from '../model-config.ts';
import { deepseekIgnoredKeys } from './deepseek.ts';
import { deepseekV3Config, deepseekV3Schema } from './deepseek-v3.ts';
import { type Family, layerCount, refuse, storedAsNamed } from './family.ts';
import { refuseLength } from './layer-types.ts';

const schema = z.object({
  ...deepseekV3Schema.shape,
  first_k_dense_replace: layerCount.nullish(),
  mlp_layer_types: z
    .array(z.enum(['dense', 'sparse']))
    .max(1024)
    .nullish(),
});

/** GLM-4.7-Flash: DeepSeek-V3's attention, gate and MTP module. */
export const glm4MoeLite: Family<typeof schema> = {
  modelType: 'glm4_moe_lite',
  architectures: ['Glm4MoeLiteForCausalLM'],
  schema,
  ignoredKeys: deepseekIgnoredKeys,
  storedAt: storedAsNamed,
  toConfig: (raw, where) => {
    const { mlp_layer_types: types } = raw;
    // Every implementation's default.
    const first = raw.first_k_dense_replace ?? 1;
    const config = deepseekV3Config('glm4_moe_lite', { ...raw, first_k_dense_replace: types ? 0 : first }, where);
    if (!types) return config;
    refuseLength(raw, where, 'mlp_layer_types', types.length);
    const dense = types.findIndex((type) => type === 'sparse');
    const differ = raw.first_k_dense_replace != null && raw.first_k_dense_replace !== dense;
    refuse(raw, where, differ, 'first_k_dense_replace', `mlp_layer_types begins with ${dense} dense layers: keep one`);
    const listed = types.map((type): LayerKind => (type === 'sparse' ? 'moe' : 'dense'));
    return { ...config, layerKinds: [...listed, ...config.layerKinds.slice(types.length)] };
  },
};
