import type { ModelType } from '../model-config.ts';
import { deepseekV2 } from './deepseek-v2.ts';
import { deepseekV3 } from './deepseek-v3.ts';
import type { Family } from './family.ts';
import { glm4Moe } from './glm4-moe.ts';
import { glm4MoeLite } from './glm4-moe-lite.ts';
import { gptOss } from './gpt-oss.ts';
import { kimiK2, kimiK25 } from './kimi.ts';
import { minimaxM2 } from './minimax-m2.ts';
import { mixtral } from './mixtral.ts';
import { olmoe } from './olmoe.ts';
import { qwen3Moe } from './qwen3-moe.ts';

const all = [
  deepseekV2,
  deepseekV3,
  glm4Moe,
  glm4MoeLite,
  gptOss,
  kimiK2,
  kimiK25,
  minimaxM2,
  mixtral,
  olmoe,
  qwen3Moe,
];

/** All families, by `model_type`. A new family is a new file and an entry here. */
export const families: ReadonlyMap<string, Family> = new Map(
  (all as unknown as Family[]).map((family) => [family.modelType, family]),
);

/** Throws a RangeError for a type that no parsed config can have. */
export function familyOf(modelType: ModelType): Family {
  const family = families.get(modelType);
  if (!family) throw new RangeError(`no family for model_type ${modelType}`);
  return family;
}
