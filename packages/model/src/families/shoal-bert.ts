import { z } from 'zod';
import { ModelError } from '../errors.ts';
import type { GateKind } from '../gates/gate-kind.ts';
import { GATES } from '../gates/index.ts';
import type { LayerKind, ModelConfig, SequenceGate } from '../model-config.ts';
import {
  dimension,
  expertCount,
  type Family,
  fullAttention,
  headCount,
  layerCount,
  positive,
  refuse,
  storedAsNamed,
  unsupported,
} from './family.ts';
import { softmaxGate } from './gates.ts';
import { plainAttention } from './gqa.ts';
import { ropeConfig } from './rope-keys.ts';

/** The gates that this family may have: those that look at a whole sequence. */
const GATE_NAMES = [
  'expert-choice',
  'soft',
  'top-1-capacity',
  'top-2-capacity',
] as const satisfies SequenceGate['name'][];

/** Tokens of a text: the WASM engine's rows of a pass. */
const MAX_POSITIONS = 2048;
/** Multiply-adds of a layer that make a text's slots, and as many that mix them back, on the main thread: a fifth of a second. */
const MAX_MIXING = 1 << 27;

const schema = z.object({
  vocab_size: dimension,
  hidden_size: dimension,
  intermediate_size: dimension,
  moe_intermediate_size: dimension,
  num_hidden_layers: layerCount.min(1),
  num_attention_heads: headCount,
  max_position_embeddings: z.int().min(1).max(MAX_POSITIONS),
  rope_theta: positive,
  layer_norm_eps: positive,
  hidden_act: z.string(),
  num_experts: expertCount,
  /** Indices of the layers whose FFN is made of experts. */
  moe_layers: z.array(layerCount).min(1),
  /** A gate of `GATES` by `name`, and its settings in snake case. */
  gate: z.record(z.string(), z.unknown()),
});

/** As `MAX_ASSIGNMENTS_PER_ROW` of @shoal/kernels. */
const MAX_EXPERTS_OF_ROW = 1024;

type Raw = z.infer<typeof schema>;

/**
 * Our own: a small encoder of BERT's kind (post-norm, biases, GELU) with RoPE, as nomic_bert, whose gate looks at all rows of a
 * sequence. Such gates are of no use to a decoder, and no published encoder has them. tools/train/encoders trains some.
 */
export const shoalBert: Family<typeof schema> = {
  modelType: 'shoal_bert',
  architectures: ['ShoalBertModel'],
  schema,
  ignoredKeys: [],
  storedAt: storedAsNamed,
  toConfig,
};

function toConfig(raw: Raw, where: string): ModelConfig {
  if (raw.hidden_act !== 'gelu') {
    throw unsupported(where, 'hidden_act', `is "${raw.hidden_act}"; this version computes only "gelu"`);
  }
  const { hidden_size: hiddenSize, num_attention_heads: heads, num_hidden_layers: layers } = raw;
  const headDim = hiddenSize / heads;
  refuse(
    raw,
    where,
    headDim % 2 !== 0,
    'num_attention_heads',
    `hidden_size ${hiddenSize} gives heads of ${headDim} values`,
  );
  const outside = raw.moe_layers.some((layer) => layer >= layers);
  refuse(raw, where, outside, 'moe_layers', `num_hidden_layers is only ${layers}`);
  const sequenceGate = readGate(raw, where);
  return {
    modelType: 'shoal_bert',
    vocabSize: raw.vocab_size,
    hiddenSize,
    intermediateSize: raw.intermediate_size,
    moeIntermediateSize: raw.moe_intermediate_size,
    sharedIntermediateSize: 0,
    sharedExpertGate: false,
    expert: { activation: 'gelu', bias: false },
    numHiddenLayers: layers,
    layerKinds: Array.from({ length: layers }, (_, layer): LayerKind =>
      raw.moe_layers.includes(layer) ? 'moe' : 'dense',
    ),
    layerAttention: fullAttention(layers),
    nRoutedExperts: raw.num_experts,
    numExpertsPerTok: expertsPerRow(sequenceGate, raw.num_experts),
    attention: plainAttention(heads, headDim, true, 1 / Math.sqrt(headDim)),
    rope: ropeConfig({ theta: raw.rope_theta, scaling: undefined, partialRotaryFactor: undefined }, headDim, 'halves'),
    gate: softmaxGate({ normTopkProb: false }),
    sequenceGate,
    maxPositionEmbeddings: raw.max_position_embeddings,
    rmsNormEps: raw.layer_norm_eps,
    tieWordEmbeddings: true,
    embeddingMultiplier: 1,
    residualMultiplier: 1,
    logitsDivisor: 1,
    numNextnPredictLayers: 0,
    mtpHidden: 'after-norm',
    bosTokenId: null,
    eosTokenIds: [],
    quantisation: null,
    encoder: { ffnBias: { up: true, down: true }, tokenTypes: 0 },
  };
}

/** Throws a ModelError that names the gate's key. */
function readGate(raw: Raw, where: string): SequenceGate {
  const { gate, num_experts: experts } = raw;
  const { name: given, ...settings } = gate;
  const name = GATE_NAMES.find((each) => each === given);
  if (!name) {
    const problem = `gate.name is ${JSON.stringify(given)}; it has to be one of ${GATE_NAMES.join(', ')}`;
    throw new ModelError('unsupported', 'gate.name', `${where}: ${problem}`);
  }
  const kind: GateKind = GATES[name];
  const camel = Object.entries(settings).map(([key, value]) => [camelCase(key), value]);
  const parsed = kind.settings.safeParse(Object.fromEntries(camel));
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const wrong = issue.code === 'unrecognized_keys' ? issue.keys[0]! : String(issue.path[0]);
    const key = Object.keys(settings).find((each) => camelCase(each) === wrong) ?? wrong;
    const message = `${where}: gate.${key} is ${JSON.stringify(settings[key])}: ${issue.message}, for the gate ${name}`;
    throw new ModelError('bad-value', `gate.${key}`, message);
  }
  checkSize(name, parsed.data as SequenceGate['settings'], raw, where);
  if (name === 'top-2-capacity' && experts < 2) {
    throw new ModelError('contradiction', 'num_experts', `${where}: num_experts is ${experts} but ${name} takes 2`);
  }
  return { name, settings: parsed.data as SequenceGate['settings'] };
}

/** Throws for slots that take too long to mix, or more experts than a row of a work item may have. */
function checkSize(name: string, settings: SequenceGate['settings'], raw: Raw, where: string): void {
  const { num_experts: experts, hidden_size: width, max_position_embeddings: positions } = raw;
  const slots = name === 'soft' ? experts * (settings['slotsPerExpert'] as number) : 0;
  if (slots * width * positions > MAX_MIXING) {
    const problem = `gate.slots_per_expert makes ${slots} slots of ${width} values of each text of up to ${positions} tokens`;
    const message = `${where}: ${problem}; this version mixes up to ${MAX_MIXING} (slots × values × tokens)`;
    throw new ModelError('bad-value', 'gate.slots_per_expert', message);
  }
  if (name === 'expert-choice' && experts > MAX_EXPERTS_OF_ROW) {
    const problem = `num_experts is ${experts}, all of which would choose the token of a text of one`;
    const message = `${where}: ${problem}; with expert choice this version computes up to ${MAX_EXPERTS_OF_ROW}`;
    throw new ModelError('bad-value', 'num_experts', message);
  }
}

const camelCase = (key: string): string => key.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/** Of a row on average; of a slot, which takes the place of rows, one. */
function expertsPerRow({ name, settings }: SequenceGate, numExperts: number): number {
  if (name === 'top-2-capacity') return 2;
  if (name !== 'expert-choice') return 1;
  return Math.min(numExperts, Math.max(1, Math.round(settings['capacityFactor'] as number)));
}
