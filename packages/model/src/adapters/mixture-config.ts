import { z } from 'zod';
import { AdapterError } from './adapter-error.ts';
import { isNothing, valueError } from './adapter-config.ts';
import type { MixtureRules } from './adapter.ts';

/** What adapter_config.json says of an X-LoRA mixture. */
export interface MixtureConfig {
  baseModel: string | null;
  hiddenSize: number;
  /** Names of its adapters and where they are, in the order of the classifier's outputs. */
  adapters: readonly { name: string; path: string }[];
  isLayerwise: boolean;
  /** Layers of the classifier, and outputs of those before the last. */
  depth: number;
  width: number;
  rules: MixtureRules;
}

/** Each is a folder, an entry of tables and a part of the classifier's outputs. */
const MAX_MIXED_ADAPTERS = 64;
const MAX_DEPTH = 16;
const MAX_WIDTH = 32_768;

const factor = z.number().finite();
const flag = z.boolean().nullish();

const schema = z.object({
  peft_type: z.literal('XLORA'),
  hidden_size: z.int().positive(),
  adapters: z.record(z.string().regex(/^(?!\.+$)[\w.-]{1,128}$/), z.string().max(4096)),
  enable_softmax: flag,
  enable_softmax_topk: flag,
  layerwise_scalings: flag,
  xlora_depth: z.int().min(1).max(MAX_DEPTH).default(1),
  xlora_size: z.int().min(1).max(MAX_WIDTH).default(2048),
  softmax_temperature: z.number().positive().finite().default(1),
  top_k_lora: z.int().min(1).nullish(),
  scaling_pass_value: factor.default(0),
  global_scaling_weight: factor.default(1),
  base_model_name_or_path: z.string().nullish(),
  task_type: z.literal('CAUSAL_LM').nullish(),
});

/** Keys without effect on what is computed: dropout and which matrices are trained are for training. */
const IGNORED_KEYS = new Set([
  'auto_mapping',
  'inference_mode',
  'peft_version',
  'revision',
  'use_trainable_adapters',
  'xlora_dropout_p',
]);

/** Whether this adapter_config.json is that of a mixture. */
export function isMixtureConfig(json: unknown): json is object {
  return typeof json === 'object' && json !== null && (json as { peft_type?: unknown }).peft_type === 'XLORA';
}

/** Reads a mixture's adapter_config.json. Throws an AdapterError that names the key. */
export function parseMixtureConfig(json: object, where: string): MixtureConfig {
  for (const [key, value] of Object.entries(json)) {
    if (key in schema.shape || IGNORED_KEYS.has(key) || isNothing(value)) continue;
    const given = JSON.stringify(value).slice(0, 80);
    throw new AdapterError('unsupported', `${where}: ${key} is ${given}, and mixtures with it are not computed`);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw valueError(parsed.error.issues[0]!, json, where);
  const config = parsed.data;
  // Keys that are numbers come in their order, as PEFT gives them to the classifier's outputs.
  const adapters = Object.entries(config.adapters).map(([name, path]) => ({ name, path }));
  const bad = (problem: string): AdapterError => new AdapterError('bad-value', `${where}: ${problem}`);
  if (adapters.length === 0) throw bad('adapters is empty: name each adapter and its folder');
  if (adapters.length > MAX_MIXED_ADAPTERS) {
    throw bad(`adapters names ${adapters.length}, and at most ${MAX_MIXED_ADAPTERS} are mixed`);
  }
  const topK = config.top_k_lora ?? null;
  if (topK !== null && topK > adapters.length) {
    throw bad(`top_k_lora is ${topK}, and there are ${adapters.length} adapters: it can be that many at most`);
  }
  const firstPassValue = config.scaling_pass_value;
  if (firstPassValue !== 0 && topK !== null && topK < adapters.length) {
    const problem = `scaling_pass_value is ${firstPassValue} with top_k_lora ${topK}`;
    const reason = 'which of equal scalings are kept, PEFT does not define; set one of them to 0 or null';
    throw new AdapterError('unsupported', `${where}: ${problem}: ${reason}`);
  }
  return {
    baseModel: config.base_model_name_or_path ?? null,
    hiddenSize: config.hidden_size,
    adapters,
    isLayerwise: config.layerwise_scalings ?? false,
    depth: config.xlora_depth,
    width: config.xlora_size,
    rules: {
      softmaxTemperature: (config.enable_softmax ?? true) ? config.softmax_temperature : null,
      topK,
      renormalises: config.enable_softmax_topk ?? false,
      weight: config.global_scaling_weight,
      firstPassValue,
    },
  };
}
