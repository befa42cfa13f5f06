import type { ModelType } from '../model-config.ts';
import { deepseekV3 } from './deepseek-v3.ts';
import type { Family } from './family.ts';

/** All families, by `model_type`. A new one is a new file and a new entry. */
export const families: ReadonlyMap<string, Family> = new Map(
  [deepseekV3 as unknown as Family].map((family) => [family.modelType, family]),
);

/** Throws a RangeError for a type that no parsed config has. */
export function familyOf(modelType: ModelType): Family {
  const family = families.get(modelType);
  if (!family) throw new RangeError(`no family for model_type ${modelType}`);
  return family;
}
