import type { ExpertDispatch } from './dispatch.ts';
import { addBias, gelu } from './expert.ts';
import { checkTokens } from './forward.ts';
import type { GqaWeights } from './gqa.ts';
import type { ForwardObserver } from './forward-observer.ts';
import { withRoutedExperts } from './layer.ts';
import { addInPlace, addWeighted, dot, layerNorm, linear, softmax } from './math.ts';
import type { GqaConfig, ModelConfig } from './model-config.ts';
import { rotate, ropeAngles } from './rope.ts';
import { RowFaults } from './row-faults.ts';
import type { EncoderFfnWeights, EncoderWeights } from './weights.ts';

export interface EncoderModel {
  config: ModelConfig;
  weights: EncoderWeights;
}

export interface EncodeResult {
  /** [rows of all sequences, hiddenSize], one sequence after the other: the last layer's hidden states. */
  hidden: Float32Array;
  /** Per row: why it is no longer finite. Absent if all are. */
  faults?: readonly (Error | undefined)[] | undefined;
}

/** What the layers of one pass need. */
interface Pass {
  config: ModelConfig;
  attention: GqaConfig;
  /** Of each sequence in turn. */
  lengths: readonly number[];
  experts: ExpertDispatch;
  observe: ForwardObserver;
  faults: RowFaults;
}

/**
 * Runs an encoder on whole sequences of token ids. Each row attends to all rows of its own sequence and to no other's, so a row's
 * result depends on its sequence and is bit for bit independent of the others (provided `experts` is). Nothing is kept afterwards.
 * The equations are those of the published `modeling_hf_nomic_bert.py`: post-norm blocks of BERT's kind with RoPE.
 */
export async function encode(
  { config, weights }: EncoderModel,
  sequences: readonly (readonly number[])[],
  experts: ExpertDispatch,
  observe: ForwardObserver = {},
): Promise<EncodeResult> {
  checkSequences(sequences, config);
  const { attention, rmsNormEps: eps } = config;
  if (attention.kind === 'mla') throw new TypeError('an encoder with latent attention');
  const faults = new RowFaults(sequences.flatMap((sequence) => sequence.map(() => sequence)));
  const lengths = sequences.map(({ length }) => length);
  const pass = { config, attention, lengths, experts, observe, faults };
  const x = embedded(config, weights, sequences.flat());
  layerNorm(x, weights.embedNorm.weight, weights.embedNorm.bias, eps);
  faults.check(x, () => 'the norm of the embeddings');
  for (const [i, { attention: own, attentionNorm, ffn: ffnWeights, ffnNorm }] of weights.layers.entries()) {
    addInPlace(x, attend(pass, own, x));
    layerNorm(x, attentionNorm.weight, attentionNorm.bias, eps);
    faults.check(x, () => `the norm after attention in layer ${i}`);
    addInPlace(x, await ffn(pass, ffnWeights, i, x));
    layerNorm(x, ffnNorm.weight, ffnNorm.bias, eps);
    faults.check(x, () => `the norm after the FFN in layer ${i}`);
  }
  const { faults: found } = faults.into({ answers: [] });
  return { hidden: x, faults: found };
}

/** Throws a RangeError that names the sequence. */
export function checkSequences(
  sequences: readonly (readonly number[])[],
  { vocabSize, maxPositionEmbeddings }: Pick<ModelConfig, 'vocabSize' | 'maxPositionEmbeddings'>,
): void {
  for (const [i, { length }] of sequences.entries()) {
    if (length > 0 && length <= maxPositionEmbeddings) continue;
    throw new RangeError(`sequence ${i} has ${length} tokens; it has to have from 1 to ${maxPositionEmbeddings}`);
  }
  checkTokens(sequences.flat(), vocabSize);
}

/** [rows, hiddenSize] */
function embedded({ hiddenSize }: ModelConfig, { embedTokens, tokenType }: EncoderWeights, ids: number[]) {
  const x = new Float32Array(ids.length * hiddenSize);
  for (const [r, id] of ids.entries()) {
    x.set(embedTokens.subarray(id * hiddenSize, (id + 1) * hiddenSize), r * hiddenSize);
  }
  return addBias(x, tokenType);
}

/** Attention of every row to its whole sequence; takes and returns [rows, hiddenSize]. */
function attend(pass: Pass, weights: GqaWeights, x: Float32Array): Float32Array {
  const { config, attention, lengths } = pass;
  const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim } = attention;
  const numRows = x.length / config.hiddenSize;
  const positions = lengths.flatMap((length) => Array.from({ length }, (_, position) => position));
  const angles = ropeAngles(positions, config.rope);
  const projected = (weight: Float32Array, bias: Float32Array | null, count: number): Float32Array =>
    addBias(linear(x, weight, numRows, config.hiddenSize, count * headDim), bias);
  const rotated = (values: Float32Array, count: number): Float32Array => {
    for (let i = 0; i < numRows * count; i++) rotate(values, i * headDim, angles, Math.floor(i / count));
    return values;
  };
  const { biases } = weights;
  const all = {
    q: rotated(projected(weights.qProj, biases.q, heads), heads),
    k: rotated(projected(weights.kProj, biases.k, kvHeads), kvHeads),
    v: projected(weights.vProj, biases.v, kvHeads),
  };
  const mixed = new Float32Array(numRows * heads * headDim);
  let first = 0;
  for (const length of lengths) {
    const rowsOf = (values: Float32Array, count: number): Float32Array =>
      values.subarray(first * count * headDim, (first + length) * count * headDim);
    const own = { q: rowsOf(all.q, heads), k: rowsOf(all.k, kvHeads), v: rowsOf(all.v, kvHeads) };
    attendWithin(attention, own, length, rowsOf(mixed, heads));
    first += length;
  }
  return addBias(linear(mixed, weights.oProj, numRows, heads * headDim, config.hiddenSize), biases.o);
}

/** One sequence's softmax(q kᵀ · scale) v, for each head; q and out [length, heads, headDim], k and v [length, kvHeads, headDim]. */
function attendWithin(
  { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim, softmaxScale }: GqaConfig,
  { q, k, v }: { q: Float32Array; k: Float32Array; v: Float32Array },
  length: number,
  out: Float32Array,
): void {
  const width = kvHeads * headDim;
  const p = new Float64Array(length);
  for (let i = 0; i < length * heads; i++) {
    const key = Math.floor((i % heads) / (heads / kvHeads)) * headDim;
    for (let t = 0; t < length; t++) p[t] = softmaxScale * dot(q, i * headDim, k, t * width + key, headDim);
    softmax(p);
    const sum = new Float64Array(headDim);
    addWeighted(sum, p, v, key, width);
    out.set(sum, i * headDim);
  }
}

/** Takes and returns [rows, hiddenSize]. */
async function ffn(pass: Pass, weights: EncoderFfnWeights, layer: number, x: Float32Array): Promise<Float32Array> {
  const { hiddenSize, intermediateSize: width } = pass.config;
  const numRows = x.length / hiddenSize;
  if (weights.kind === 'moe') {
    const sum = withRoutedExperts(pass, weights.gate, layer, x, () => new Float32Array(x.length));
    return addBias(await sum, weights.bias);
  }
  const up = addBias(linear(x, weights.up, numRows, hiddenSize, width), weights.upBias);
  return addBias(linear(up.map(gelu), weights.down, numRows, width, hiddenSize), weights.downBias);
}
