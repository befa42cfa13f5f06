import { z } from 'zod';
import type { ModelType } from '../model-config.ts';
import { deepseekConfig, deepseekIgnoredKeys, deepseekKeys } from './deepseek.ts';
import { type Family, storedAsNamed } from './family.ts';
import { noauxGate, noauxKeys } from './gates.ts';

export const deepseekV3Schema = z.object({ ...deepseekKeys, ...noauxKeys });

type DeepseekV3Schema = typeof deepseekV3Schema;

/** DeepSeek-V3 and R1 (paper 2412.19437), Moonlight, and Shoal's own default model. */
export const deepseekV3: Family<DeepseekV3Schema> = {
  modelType: 'deepseek_v3',
  architectures: ['DeepseekV3ForCausalLM'],
  schema: deepseekV3Schema,
  ignoredKeys: deepseekIgnoredKeys,
  storedAt: storedAsNamed,
  toConfig: (raw, where) => deepseekV3Config('deepseek_v3', raw, where),
};

/** The config of a model that is DeepSeek-V3 under another name. */
export function deepseekV3Config(modelType: ModelType, raw: z.infer<DeepseekV3Schema>, where: string) {
  return deepseekConfig(modelType, raw, noauxGate(raw, where), where);
}
