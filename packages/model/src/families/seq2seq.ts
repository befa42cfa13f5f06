import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { ExpertActivation } from '../expert.ts';
import type { LayerKind, ModelConfig, RopeConfig } from '../model-config.ts';
import { dimension, expertCount, type Family, refuse, tokenId, unsupported } from './family.ts';

/** Keys of both families of encoder–decoders. */
export const seq2seqKeys = {
  vocab_size: dimension,
  d_model: dimension,
  num_experts: expertCount,
  router_bias: z.boolean().default(false),
  router_dtype: z.string().default('float32'),
  router_type: z.string().default('tokens_masked'),
  is_encoder_decoder: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(true),
  pad_token_id: tokenId.nullish(),
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId).min(1).max(64)]),
  decoder_start_token_id: tokenId.nullish(),
  forced_bos_token_id: tokenId.nullish(),
  quantization_config: z.unknown().optional(),
} satisfies z.ZodRawShape;

type Seq2SeqKeys = z.infer<z.ZodObject<typeof seq2seqKeys>>;

/** Keys of both families without effect on inference: training, and what a config says of what is not stored. */
export const seq2seqIgnoredKeys: readonly string[] = [
  'add_cross_attention',
  'initializer_factor',
  'is_decoder',
  'output_attentions',
  'output_hidden_states',
  'output_past',
  // With one source at a time there is no padding.
  'router_ignore_padding_tokens',
  'router_z_loss_coef',
  'task_specific_params',
];

/** Throws `unsupported` for alternatives that neither family computes. */
export function refuseUnsupportedSeq2Seq(raw: Seq2SeqKeys, where: string): void {
  const only = (key: keyof Seq2SeqKeys & string, value: unknown, why = ''): void => {
    if (raw[key] === value) return;
    throw unsupported(
      where,
      key,
      `is ${JSON.stringify(raw[key])}; this version computes only ${JSON.stringify(value)}${why}`,
    );
  };
  only('router_dtype', 'float32');
  only('router_type', 'tokens_masked');
  only('is_encoder_decoder', true);
  only(
    'tie_word_embeddings',
    true,
    ' in this family, whose published models all have one embedding for both stacks and the head',
  );
}

/** The activation of FFNs and experts, by transformers' name. */
export function ffnActivation(name: string, key: string, where: string): ExpertActivation {
  if (name === 'relu' || name === 'gelu') return name;
  throw unsupported(
    where,
    key,
    `is ${JSON.stringify(name)}; this version computes only "relu" and "gelu" in this family`,
  );
}

/** Throws unless an expert has room for at least one token. */
export function refuseCapacity(capacity: number, where: string): void {
  if (Number.isInteger(capacity) && capacity >= 1) return;
  const problem =
    'an expert would take no token: give the tokens of a text that an expert takes, as in the published config';
  throw new ModelError('bad-value', 'expert_capacity', `${where}: expert_capacity is ${capacity}: ${problem}`);
}

/** Both stacks' kinds of layers, of which one at least has to be `moe`. */
export function stackKinds(
  kinds: readonly (readonly LayerKind[])[],
  keys: readonly string[],
  where: string,
): LayerKind[] {
  const all = kinds.flat();
  if (all.includes('moe')) return all;
  const problem = 'so no layer has routed experts that tabs could hold';
  throw new ModelError('unsupported', keys[0], `${where}: by ${keys.join(' and ')} every layer is dense, ${problem}`);
}

const NO_ROPE: RopeConfig = { pairs: 'halves', dim: 0, inverseFrequencies: new Float64Array(), attentionFactor: 1 };

/** What both families have alike. Checks token ids against the vocabulary. */
export function commonSeq2Seq(raw: Seq2SeqKeys, layerKinds: readonly LayerKind[], where: string) {
  const eosTokenIds = typeof raw.eos_token_id === 'number' ? [raw.eos_token_id] : raw.eos_token_id;
  for (const key of [
    'pad_token_id',
    'bos_token_id',
    'eos_token_id',
    'decoder_start_token_id',
    'forced_bos_token_id',
  ] as const) {
    const outside = [raw[key] ?? []].flat().some((id) => id >= raw.vocab_size);
    refuse(raw, where, outside, key, `vocab_size is ${raw.vocab_size}`);
  }
  return {
    vocabSize: raw.vocab_size,
    hiddenSize: raw.d_model,
    sharedIntermediateSize: 0,
    sharedExpertGate: false,
    numHiddenLayers: layerKinds.length,
    layerKinds,
    layerAttention: layerKinds.map(() => ({ span: { kind: 'full' }, rope: false }) as const),
    nRoutedExperts: raw.num_experts,
    rope: NO_ROPE,
    tieWordEmbeddings: true,
    residualMultiplier: 1,
    numNextnPredictLayers: 0,
    mtpHidden: 'after-norm',
    bosTokenId: raw.bos_token_id ?? null,
    eosTokenIds,
  } satisfies Partial<ModelConfig>;
}

/** What targets begin with. Throws `missing-key` where no key says. */
export function targetPrefix(raw: Seq2SeqKeys, where: string): number[] {
  const start = raw.decoder_start_token_id ?? raw.bos_token_id;
  if (start === undefined || start === null) {
    const problem = 'is missing, and bos_token_id too, which would stand in for it: add it as in the published config';
    throw new ModelError('missing-key', 'decoder_start_token_id', `${where}: decoder_start_token_id ${problem}`);
  }
  return [
    start,
    ...(raw.forced_bos_token_id === undefined || raw.forced_bos_token_id === null ? [] : [raw.forced_bos_token_id]),
  ];
}

/** A layer's numbers within its stack. */
export interface StackLayer {
  stack: 'encoder' | 'decoder';
  index: number;
}

/** What of a family's names the tensors of layers, and all others, are stored by. */
interface StackNames {
  whole: Readonly<Record<string, string>>;
  inLayer: (part: string, layer: StackLayer) => string;
}

/** `storedAt` of a family whose layers are numbered within each stack. */
export function storedInStacks({ whole, inLayer }: StackNames): Family<z.ZodObject>['storedAt'] {
  return (name, { seq2seq }) => {
    const [, number, part] = /^model\.layers\.(\d+)\.(.*)$/.exec(name) ?? [];
    if (number === undefined || part === undefined) return { name: whole[name] ?? name };
    const [layer, first] = [Number(number), seq2seq!.encoderLayers];
    const place = {
      stack: layer < first ? 'encoder' : 'decoder',
      index: layer < first ? layer : layer - first,
    } as const;
    return { name: inLayer(part, place) };
  };
}
