import { z } from 'zod';
import { parseModelConfig } from '../config.ts';
import { ModelError } from '../errors.ts';
import { bookkeepingKeys } from '../families/bookkeeping-keys.ts';
import { dimension, refuse, unsupported } from '../families/family.ts';
import type { ModelConfig } from '../model-config.ts';
import type { DFlashHead, Eagle3Head, HeadConfig } from './head-config.ts';

/** What is known of the model that a head is to draft for. */
export type HeadTarget = Pick<ModelConfig, 'hiddenSize' | 'vocabSize' | 'numHiddenLayers' | 'maxPositionEmbeddings'>;

/** A head's config, and the name of the model that it was trained for, where it says. */
export interface ParsedHead {
  config: HeadConfig;
  trainedFor: string | undefined;
}

type Json = Record<string, unknown>;

const layerIds = z.array(z.int().min(0).max(4096)).min(1).max(16);

/** Keys of EAGLE-3 heads beside those of their decoder layer. */
const eagle3Schema = z.object({
  draft_vocab_size: dimension.nullish(),
  target_hidden_size: dimension.nullish(),
  eagle_aux_hidden_state_layer_ids: layerIds.nullish(),
  norm_before_residual: z.boolean().default(false),
  norm_before_fc: z.boolean().default(false),
  fc_norm: z.boolean().default(false),
  norm_output: z.boolean().default(false),
  // What ModelOpt and SpecForge write. Of the last four keys, other values belong to older heads.
  eagle_config: z
    .strictObject({
      eagle_aux_hidden_state_layer_ids: layerIds.nullish(),
      use_aux_hidden_state: z.literal(true).optional(),
      use_input_layernorm_in_first_layer: z.literal(true).optional(),
      use_last_layernorm: z.literal(true).optional(),
      use_mtp_layernorm: z.literal(false).optional(),
    })
    .nullish(),
});

/** Keys of DFlash heads beside those of their decoder layers. */
const dflashSchema = z.object({
  draft_vocab_size: dimension.nullish(),
  target_hidden_size: dimension.nullish(),
  aux_hidden_state_layer_ids: layerIds.nullish(),
  block_size: z.int().min(2).max(64).nullish(),
  mask_token_id: z.int().min(0).nullish(),
  sample_from_anchor: z.literal(false).default(false),
  // Says how layers with windows attend, which are refused.
  sliding_window_non_causal: z.boolean().default(false),
  num_target_layers: z.int().min(1).nullish(),
  dflash_config: z
    .strictObject({
      target_layer_ids: layerIds.nullish(),
      block_size: z.int().min(2).max(64).nullish(),
      mask_token_id: z.int().min(0).nullish(),
      causal: z.literal(false).optional(),
      use_aux_hidden_state: z.literal(true).optional(),
    })
    .nullish(),
});

/** What the `speculators` package writes beside a head's own keys. */
const packageSchema = z.object({
  transformer_layer_config: z.record(z.string(), z.unknown()),
  speculators_config: z
    .object({ verifier: z.object({ name_or_path: z.string().nullish() }).optional() })
    .optional()
    .nullable(),
});
/** Its bookkeeping, and what concerns training. */
const PACKAGE_KEYS = [
  'speculators_model_type',
  'speculators_version',
  'transformer_layer_config',
  'speculators_config',
  'embed_requires_grad',
  'has_no_defaults_at_init',
  'base_model_ep_plan',
  'base_model_tp_plan',
  'base_model_pp_plan',
  'tie_word_embeddings',
];

/** What transformers takes a key of a decoder layer's config for that isn't there: its writers leave out what equals it. */
const DEFAULTS: Readonly<Record<string, Json>> = {
  llama: {
    vocab_size: 32000,
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    max_position_embeddings: 2048,
  },
  qwen3: {
    vocab_size: 151936,
    hidden_size: 4096,
    intermediate_size: 22016,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    head_dim: 128,
    max_position_embeddings: 32768,
  },
};
const COMMON_DEFAULTS = { hidden_act: 'silu', rms_norm_eps: 1e-6 };
const DEFAULT_THETA = 10_000;

const ARCHITECTURES: Readonly<Record<string, HeadConfig['head']['kind']>> = {
  LlamaForCausalLMEagle3: 'eagle3',
  Eagle3LlamaForCausalLM: 'eagle3',
  DFlashDraftModel: 'dflash',
};

/**
 * Reads the config.json of a head that drafts for `target`, in the layout of its authors or of the `speculators` package. `where`
 * names the file in errors. Throws a ModelError that names the key, also where the head doesn't fit.
 */
export function parseHeadConfig(json: unknown, target: HeadTarget, where: string): ParsedHead {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new ModelError('bad-json', undefined, `${where}: expected a JSON object with the configuration of a head`);
  const raw = json as Json;
  const kind = kindOf(raw, where);
  const outer = raw['speculators_model_type'] === undefined ? undefined : parse(packageSchema, raw, where);
  const schema = kind === 'eagle3' ? eagle3Schema : dflashSchema;
  const own = Object.keys(schema.shape);
  const keys = outer ? without(raw, PACKAGE_KEYS) : pick(raw, own);
  const layers = outer ? outer.transformer_layer_config : without(raw, own);
  const transformer = transformerOf(kind, layers, target, where);
  if (outer) refuseUnknownKeys(keys, own, where);
  const config =
    kind === 'eagle3'
      ? eagle3Config(parse(eagle3Schema, keys, where), transformer, target, where)
      : dflashConfig(parse(dflashSchema, keys, where), transformer, target, where);
  return { config, trainedFor: outer?.speculators_config?.verifier?.name_or_path ?? undefined };
}

function kindOf(raw: Json, where: string): HeadConfig['head']['kind'] {
  const packageKind = raw['speculators_model_type'];
  const architecture = Array.isArray(raw['architectures']) ? String(raw['architectures'][0]) : 'none';
  if (packageKind === 'eagle3' || packageKind === 'dflash') return packageKind;
  const kind = packageKind === undefined ? ARCHITECTURES[architecture] : undefined;
  if (kind) return kind;
  const key = packageKind === undefined ? 'architectures' : 'speculators_model_type';
  const is = JSON.stringify(packageKind ?? raw['architectures'] ?? null);
  const supported = `${Object.keys(ARCHITECTURES).join(', ')}, or the speculators package's "eagle3" and "dflash"`;
  const remedy = 'a small model of its own is given with --draft-model';
  throw new ModelError(
    'unknown-architecture',
    key,
    `${where}: ${key} is ${is.slice(0, 80)}; supported heads: ${supported}; ${remedy}`,
  );
}

/** The head's decoder layers, as a model of the family that they are from. */
function transformerOf(kind: HeadConfig['head']['kind'], layers: Json, target: HeadTarget, where: string): ModelConfig {
  const modelType = layers['model_type'] ?? (kind === 'eagle3' ? 'llama' : 'qwen3');
  const defaults = typeof modelType === 'string' ? DEFAULTS[modelType] : undefined;
  const isKnown = defaults && (kind === 'eagle3' || modelType === 'qwen3');
  if (!isKnown) {
    const computed = kind === 'eagle3' ? '"llama" and "qwen3"' : '"qwen3"';
    throw unsupported(
      where,
      'model_type',
      `is ${JSON.stringify(modelType)}; this version computes heads with layers of ${computed}`,
    );
  }
  const hasTheta = ['rope_theta', 'rope_parameters'].some((key) => layers[key] !== undefined && layers[key] !== null);
  const config = parseModelConfig(
    {
      ...COMMON_DEFAULTS,
      ...defaults,
      ...(hasTheta ? {} : { rope_theta: DEFAULT_THETA }),
      ...Object.fromEntries(Object.entries(layers).filter(([, value]) => value !== null)),
      model_type: modelType,
      architectures: [modelType === 'llama' ? 'LlamaForCausalLM' : 'Qwen3ForCausalLM'],
      // The target says where texts begin and end.
      bos_token_id: null,
      eos_token_id: 0,
      tie_word_embeddings: false,
    },
    where,
  );
  const isWindowed = config.layerAttention.some(({ span }) => span.kind !== 'full');
  if (isWindowed) throw unsupported(where, 'layer_types', 'has layers with windows, which heads are not computed with');
  const differs = { vocab_size: config.vocabSize };
  refuse(differs, where, config.vocabSize !== target.vocabSize, 'vocab_size', `the model's is ${target.vocabSize}`);
  // RoPE has no end of its own, and drafts may go as far as the texts.
  return { ...config, maxPositionEmbeddings: target.maxPositionEmbeddings };
}

function eagle3Config(
  raw: z.infer<typeof eagle3Schema>,
  transformer: ModelConfig,
  target: HeadTarget,
  where: string,
): HeadConfig {
  const { norm_before_fc: isWhole, fc_norm: isEach } = raw;
  refuse(raw, where, isWhole && isEach, 'fc_norm', 'norm_before_fc is true too: keep one');
  // vLLM and the speculators package count a layer's input, SGLang and ModelOpt the output: layer i's is the input of i + 1.
  const nested = raw.eagle_config?.eagle_aux_hidden_state_layer_ids?.map((id) => id + 1);
  const given = raw.eagle_aux_hidden_state_layer_ids ?? nested;
  const n = target.numHiddenLayers;
  const layers = given ?? [2, n >> 1, n - 3];
  const head: Eagle3Head = {
    kind: 'eagle3',
    normBeforeResidual: raw.norm_before_residual,
    fcNorm: isWhole ? 'whole' : isEach ? 'each' : 'none',
    goesOnAfterNorm: raw.norm_output,
  };
  return commonConfig({ raw, transformer, target, where, key: 'eagle_aux_hidden_state_layer_ids', layers, head });
}

function dflashConfig(
  raw: z.infer<typeof dflashSchema>,
  transformer: ModelConfig,
  target: HeadTarget,
  where: string,
): HeadConfig {
  const nested = raw.dflash_config;
  const required = <T>(value: T | null | undefined, key: string): T => {
    if (value !== null && value !== undefined) return value;
    throw new ModelError('missing-key', key, `${where}: ${key} is missing: add it as in the published config`);
  };
  const layers = required(
    raw.aux_hidden_state_layer_ids ?? nested?.target_layer_ids?.map((id) => id + 1),
    'dflash_config.target_layer_ids',
  );
  const n = target.numHiddenLayers;
  const isOther = raw.num_target_layers !== null && raw.num_target_layers !== undefined && raw.num_target_layers !== n;
  refuse(raw, where, isOther, 'num_target_layers', `the model has ${n}`);
  const head: DFlashHead = {
    kind: 'dflash',
    blockSize: required(raw.block_size ?? nested?.block_size, 'block_size'),
    maskTokenId: required(raw.mask_token_id ?? nested?.mask_token_id, 'mask_token_id'),
  };
  const isOutside = head.maskTokenId >= target.vocabSize;
  const ids = { mask_token_id: head.maskTokenId };
  refuse(ids, where, isOutside, 'mask_token_id', `the model's vocabulary has ${target.vocabSize} tokens`);
  return commonConfig({ raw, transformer, target, where, key: 'aux_hidden_state_layer_ids', layers, head });
}

function commonConfig({
  raw,
  transformer,
  target,
  where,
  key,
  layers,
  head,
}: {
  raw: { draft_vocab_size?: number | null | undefined; target_hidden_size?: number | null | undefined };
  transformer: ModelConfig;
  target: HeadTarget;
  where: string;
  key: string;
  layers: readonly number[];
  head: HeadConfig['head'];
}): HeadConfig {
  const n = target.numHiddenLayers;
  const isWrong = layers.some((layer) => layer < 0 || layer > n) || new Set(layers).size < layers.length;
  const ids = { [key]: layers };
  refuse(ids, where, isWrong, key, `the model has ${n} layers: they must be distinct, from 0 to ${n}`);
  const draftVocabSize = raw.draft_vocab_size ?? transformer.vocabSize;
  const vocabSize = transformer.vocabSize;
  refuse(raw, where, draftVocabSize > vocabSize, 'draft_vocab_size', `the vocabulary has ${vocabSize} tokens`);
  const { hiddenSize } = target;
  const stated = raw.target_hidden_size ?? undefined;
  refuse(raw, where, (stated ?? hiddenSize) !== hiddenSize, 'target_hidden_size', `the model's is ${hiddenSize}`);
  const isOther = stated === undefined && transformer.hiddenSize !== hiddenSize;
  const sizes = { hidden_size: transformer.hiddenSize };
  refuse(sizes, where, isOther, 'hidden_size', `the model's is ${hiddenSize}, and no target_hidden_size says that`);
  // As far as the config says.
  const stored = { firstLayer: 'layers.0.', embedding: true, output: true } as const;
  return { transformer, draftVocabSize, auxiliaryLayers: layers, targetHiddenSize: hiddenSize, stored, head };
}

const pick = (raw: Json, keys: readonly string[]): Json =>
  Object.fromEntries(Object.entries(raw).filter(([key]) => keys.includes(key)));

const without = (raw: Json, keys: readonly string[]): Json =>
  Object.fromEntries(Object.entries(raw).filter(([key]) => !keys.includes(key)));

function refuseUnknownKeys(keys: Json, known: readonly string[], where: string): void {
  for (const [key, value] of Object.entries(keys)) {
    if (known.includes(key) || bookkeepingKeys.includes(key) || value === null || value === false) continue;
    const problem = `${key} is set to ${JSON.stringify(value).slice(0, 80)}, which this version doesn't know`;
    throw new ModelError('unknown-key', key, `${where}: ${problem}: remove it if it has no effect on inference`);
  }
}

function parse<S extends z.ZodType>(schema: S, json: Json, where: string): z.infer<S> {
  const given = Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const key = issue.path.join('.');
  throw new ModelError('bad-value', key, `${where}: ${key}: ${issue.message}`);
}
