import { z } from 'zod';
import { AdapterError } from './adapter-error.ts';
import { MAX_ADAPTER_RANK } from './adapter.ts';

/** What adapter_config.json says of an adapter's matrices. */
export interface AdapterConfig {
  /** The model that it was trained on, by name or path; null if it doesn't say. */
  baseModel: string | null;
  /** The rank of a module's or parameter's matrices, and what their product is multiplied by. */
  rankOf(module: string): number;
  scaleOf(module: string): number;
}

const rank = z.int().min(1).max(MAX_ADAPTER_RANK);
const alpha = z.number().positive().finite();
const names = z.union([z.string(), z.array(z.string())]).nullish();

const schema = z.object({
  peft_type: z.literal('LORA'),
  r: rank,
  lora_alpha: alpha.default(8),
  use_rslora: z.boolean().nullish(),
  rank_pattern: z.record(z.string(), rank).nullish(),
  alpha_pattern: z.record(z.string(), alpha).nullish(),
  base_model_name_or_path: z.string().nullish(),
  bias: z.literal('none').default('none'),
  task_type: z.literal('CAUSAL_LM').nullish(),
  // These leave the base model's weights as they are; others, such as pissa, change them.
  init_lora_weights: z.union([z.boolean(), z.enum(['gaussian', 'eva', 'orthogonal'])]).nullish(),
  target_modules: names,
  target_parameters: names,
});

/** Keys without effect on what is computed: the tensors say which modules there are, and dropout is for training. */
const IGNORED_KEYS = new Set([
  'auto_mapping',
  'corda_config',
  'eva_config',
  'exclude_modules',
  'inference_mode',
  'layers_pattern',
  'layers_to_transform',
  'loftq_config',
  'lora_dropout',
  'lora_ga_config',
  'megatron_config',
  'megatron_core',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
]);

/** Reads adapter_config.json. Throws an AdapterError that names the key. */
export function parseAdapterConfig(json: unknown, where: string): AdapterConfig {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new AdapterError('unreadable', `${where}: is not a JSON object`);
  }
  for (const [key, value] of Object.entries(json)) {
    if (key in schema.shape || IGNORED_KEYS.has(key) || isNothing(value)) continue;
    const given = JSON.stringify(value).slice(0, 80);
    throw new AdapterError('unsupported', `${where}: ${key} is ${given}, and adapters with it are not computed`);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw valueError(parsed.error.issues[0]!, json, where);
  const config = parsed.data;
  const ranks = patternsOf(config.rank_pattern, 'rank_pattern', where);
  const alphas = patternsOf(config.alpha_pattern, 'alpha_pattern', where);
  const rankOf = (module: string): number => ranks(module) ?? config.r;
  return {
    baseModel: config.base_model_name_or_path ?? null,
    rankOf,
    // rsLoRA (Kalajdzievski 2023, §3.2) divides by √r.
    scaleOf: (module) => {
      const divisor = config.use_rslora ? Math.sqrt(rankOf(module)) : rankOf(module);
      return (alphas(module) ?? config.lora_alpha) / divisor;
    },
  };
}

/** Values that a key without a meaning here may have. */
export function isNothing(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

/** The error for a key whose value the schema refuses. */
export function valueError({ path, message }: z.core.$ZodIssue, json: object, where: string): AdapterError {
  const key = path.map(String).join('.');
  const value = path.reduce<unknown>((at, part) => (at as Record<PropertyKey, unknown> | undefined)?.[part], json);
  const given = value === undefined ? 'is missing' : `is ${JSON.stringify(value).slice(0, 80)}`;
  const reason = ['peft_type', 'bias', 'task_type', 'init_lora_weights'].includes(key) ? 'unsupported' : 'bad-value';
  return new AdapterError(reason, `${where}: ${key} ${given}: ${message}`);
}

/** A pattern is a name, or the end of one after a dot. PEFT takes regular expressions, of which it writes only these itself. */
const PATTERN = /^(?:\^|\.\*\\?\.)?((?:\w|\\?\.)+)\$?$/;

/** The value of the first pattern that fits a name, as in PEFT. */
function patternsOf(
  patterns: Readonly<Record<string, number>> | null | undefined,
  key: string,
  where: string,
): (module: string) => number | undefined {
  const known = Object.entries(patterns ?? {}).map(([pattern, value]) => {
    const [, name] = PATTERN.exec(pattern) ?? [];
    if (name === undefined) {
      const problem = `${JSON.stringify(pattern)} is a regular expression; write the modules' names instead`;
      throw new AdapterError('unsupported', `${where}: ${key}: ${problem}`);
    }
    return { name: name.replaceAll('\\.', '.'), value };
  });
  return (module) => known.find(({ name }) => module === name || module.endsWith(`.${name}`))?.value;
}
