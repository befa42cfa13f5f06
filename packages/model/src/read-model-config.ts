import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { parseModelConfig } from './config.ts';
import { withHfQuantConfig } from './families/modelopt-keys.ts';
import { readJson } from './json-file.ts';
import type { ModelConfig } from './model-config.ts';

/** ModelOpt's description of a checkpoint's weights, beside config.json. */
export const HF_QUANT_FILE = 'hf_quant_config.json';

/** Reads a config.json, and the hf_quant_config.json beside it if there is one. Throws a ModelError that names the file. */
export async function readModelConfig(path: string): Promise<ModelConfig> {
  const json = await readJson(path);
  const beside = join(dirname(path), HF_QUANT_FILE);
  const isThere = basename(path) === 'config.json' && (await stat(beside).catch(() => undefined)) !== undefined;
  if (!isThere || typeof json !== 'object' || json === null) return parseModelConfig(json, path);
  return parseModelConfig(withHfQuantConfig(json as Record<string, unknown>, await readJson(beside), beside), path);
}
