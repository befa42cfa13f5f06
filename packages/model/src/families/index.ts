import type { ModelType } from '../model-config.ts';
import { deepseekV2 } from './deepseek-v2.ts';
import { deepseekV3 } from './deepseek-v3.ts';
import { dots1 } from './dots1.ts';
import { ernie45Moe } from './ernie4-5-moe.ts';
import type { Family } from './family.ts';
import { glm4Moe } from './glm4-moe.ts';
import { glm4MoeLite } from './glm4-moe-lite.ts';
import { gptOss } from './gpt-oss.ts';
import { graniteMoe } from './granite-moe.ts';
import { hunyuanV1Moe } from './hunyuan-v1-moe.ts';
import { kimiK2, kimiK25 } from './kimi.ts';
import { llama } from './llama.ts';
import { llama4, llama4Text } from './llama4.ts';
import { minimaxM2 } from './minimax-m2.ts';
import { mixtral } from './mixtral.ts';
import { nllbMoe } from './nllb-moe.ts';
import { nomicBert } from './nomic-bert.ts';
import { olmoe } from './olmoe.ts';
import { qwen2Moe } from './qwen2-moe.ts';
import { qwen3 } from './qwen3.ts';
import { qwen3Moe } from './qwen3-moe.ts';
import { shoalBert } from './shoal-bert.ts';
import { switchTransformers } from './switch-transformers.ts';

const all = [
  deepseekV2,
  deepseekV3,
  dots1,
  ernie45Moe,
  glm4Moe,
  glm4MoeLite,
  gptOss,
  graniteMoe,
  hunyuanV1Moe,
  kimiK2,
  kimiK25,
  llama,
  llama4,
  llama4Text,
  minimaxM2,
  mixtral,
  nllbMoe,
  nomicBert,
  olmoe,
  qwen2Moe,
  qwen3,
  qwen3Moe,
  shoalBert,
  switchTransformers,
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
