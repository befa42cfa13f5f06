import type { ExpertWeights, SwigluWeights } from './expert.ts';
import type { GateWeights } from './gate.ts';
import type { GqaWeights } from './gqa.ts';
import { splitKvB, type MlaWeights } from './mla.ts';
import type { ModelConfig } from './model-config.ts';
import { denseTensors, encoderTensors, expertTensors, layerTensors, seq2seqTensors, TensorSpec } from './tensors.ts';

/** A source of weights, as a Checkpoint. */
export interface TensorReader {
  read(spec: TensorSpec): Promise<Float32Array>;
  /** Reads some rows of a tensor (a vector's values are rows of one), if the source can do so without reading all of it. */
  readRows?(spec: TensorSpec, firstRow: number, numRows: number): Promise<Float32Array>;
}

export type AttentionWeights = MlaWeights | GqaWeights;

/** The FFN weights of a layer, without the routed experts, which are behind ExpertDispatch. */
export type FfnWeights =
  | { kind: 'dense'; mlp: SwigluWeights }
  | {
      kind: 'moe';
      gate: GateWeights;
      shared: SwigluWeights | null;
      /** [1, hiddenSize], the projection whose sigmoid multiplies the shared expert's output; null without one. */
      sharedGate: Float32Array | null;
    };

export interface LayerWeights {
  /** [hiddenSize] */
  inputLayernorm: Float32Array;
  attention: AttentionWeights;
  /** [hiddenSize] */
  postAttentionLayernorm: Float32Array;
  ffn: FfnWeights;
}

/** The multi-token-prediction module; embedding and head are the main model's (DeepSeek-V3 paper §2.2). */
export interface MtpWeights {
  /** [hiddenSize], of the next token's embedding. */
  enorm: Float32Array;
  /** [hiddenSize], of the main model's hidden state. */
  hnorm: Float32Array;
  /** [hiddenSize, 2 × hiddenSize], embedding first. */
  ehProj: Float32Array;
  layer: LayerWeights;
  /** [hiddenSize] */
  sharedHeadNorm: Float32Array;
}

/** All weights but the routed experts', as float32. */
export interface DenseWeights {
  /** [vocabSize, hiddenSize] */
  embedTokens: Float32Array;
  layers: LayerWeights[];
  /** [hiddenSize] */
  norm: Float32Array;
  /** [vocabSize, hiddenSize]; the embedding itself if `tieWordEmbeddings`. */
  lmHead: Float32Array;
  mtp: MtpWeights | undefined;
}

/** Of a LayerNorm, [hiddenSize] each. */
export interface NormWeights {
  weight: Float32Array;
  bias: Float32Array;
}

/** A dense layer's FFN of two matrices. */
export interface PlainFfnWeights {
  kind: 'dense';
  /** [width, hiddenSize] */
  up: Float32Array;
  upBias: Float32Array | null;
  /** [hiddenSize, width] */
  down: Float32Array;
  downBias: Float32Array | null;
}

/** The FFN weights of an encoder's layer, without the routed experts. */
export type EncoderFfnWeights =
  | PlainFfnWeights
  /** `bias` [hiddenSize] is added once to the sum of a row's experts. */
  | (Extract<FfnWeights, { kind: 'moe' }> & { bias: Float32Array });

export interface EncoderLayerWeights {
  attention: GqaWeights;
  /** Of the sum after attention, which is the input of the FFN. */
  attentionNorm: NormWeights;
  ffn: EncoderFfnWeights;
  /** Of the sum after the FFN. */
  ffnNorm: NormWeights;
}

/** All weights of an encoder but the routed experts', as float32. */
export interface EncoderWeights {
  /** [vocabSize, hiddenSize] */
  embedTokens: Float32Array;
  /** [hiddenSize], added to every token's embedding; null without one. */
  tokenType: Float32Array | null;
  embedNorm: NormWeights;
  layers: EncoderLayerWeights[];
}

/** Of an RMSNorm, which has no bias, or a LayerNorm. */
export interface AnyNormWeights extends Pick<NormWeights, 'weight'> {
  bias: Float32Array | null;
}

export interface Seq2SeqLayerWeights {
  attentionNorm: AnyNormWeights;
  attention: GqaWeights;
  /** The decoder's attention to the encoder's rows; null in the encoder. */
  cross: { norm: AnyNormWeights; attention: GqaWeights } | null;
  ffnNorm: AnyNormWeights;
  ffn: PlainFfnWeights | Extract<FfnWeights, { kind: 'moe' }>;
}

/** All weights of an encoder–decoder but the routed experts', as float32. */
export interface Seq2SeqWeights {
  /** [vocabSize, hiddenSize], of both stacks, and the head too. */
  embedTokens: Float32Array;
  /** [buckets, heads] each; null without biases of positions. */
  positionBias: { encoder: Float32Array; decoder: Float32Array } | null;
  /** The encoder's, then the decoder's. */
  layers: Seq2SeqLayerWeights[];
  /** Of the encoder's last rows. */
  encoderNorm: AnyNormWeights;
  /** Of the decoder's last rows. */
  norm: AnyNormWeights;
}

/** Reads all weights of an encoder–decoder but the routed experts'. Throws as `loadDenseWeights` does. */
export async function loadSeq2SeqWeights(config: ModelConfig, reader: TensorReader): Promise<Seq2SeqWeights> {
  if (!config.seq2seq) throw new TypeError(`${config.modelType} is no encoder–decoder`);
  const { layers: specs, ...rest } = seq2seqTensors(config, config.seq2seq);
  const layers: Seq2SeqLayerWeights[] = [];
  for (const layer of specs) layers.push(await readAll(reader, layer));
  return { ...(await readAll(reader, rest)), layers };
}

/** Reads all weights of an encoder but the routed experts'. Throws as `loadDenseWeights` does. */
export async function loadEncoderWeights(config: ModelConfig, reader: TensorReader): Promise<EncoderWeights> {
  if (!config.encoder) throw new TypeError(`${config.modelType} is no encoder`);
  const { layers: specs, ...rest } = encoderTensors(config, config.encoder);
  const layers: EncoderLayerWeights[] = [];
  for (const layer of specs) layers.push(await readAll(reader, layer));
  return { ...(await readAll(reader, rest)), layers };
}

/** Reads all weights but the routed experts'. Throws the reader's error if one is missing or has another shape. */
export async function loadDenseWeights(config: ModelConfig, reader: TensorReader): Promise<DenseWeights> {
  const specs = denseTensors(config);
  const { embedTokens } = await readAll(reader, { embedTokens: specs.embedTokens });
  const layers: LayerWeights[] = [];
  for (const layer of specs.layers) layers.push(await loadLayer(config, reader, layer));
  const { norm, lmHead } = await readAll(reader, { norm: specs.norm, lmHead: specs.lmHead });
  return { embedTokens, layers, norm, lmHead: lmHead ?? embedTokens, mtp: await loadMtp(config, reader) };
}

/** Reads one routed expert as float32. */
export async function loadExpert(
  config: ModelConfig,
  reader: TensorReader,
  layer: number,
  expert: number,
): Promise<ExpertWeights> {
  return readAll(reader, expertTensors(config, layer, expert));
}

async function loadLayer(
  config: ModelConfig,
  reader: TensorReader,
  specs: ReturnType<typeof layerTensors>,
): Promise<LayerWeights> {
  const { attention, ...rest } = await readAll(reader, specs);
  return { ...rest, attention: attention.kind === 'mla' ? absorbable(config, attention) : attention };
}

/** MLA's weights with `kv_b_proj` split into the matrices of the absorbed form. */
function absorbable(
  { attention }: ModelConfig,
  { kvBProj, ...weights }: Omit<MlaWeights, 'wUkT' | 'wUv'> & { kvBProj: Float32Array },
): MlaWeights {
  if (attention.kind !== 'mla') throw new TypeError(`MLA weights in a model of ${attention.kind} attention`);
  return { ...weights, ...splitKvB(attention, kvBProj) };
}

async function loadMtp(config: ModelConfig, reader: TensorReader): Promise<MtpWeights | undefined> {
  const specs = denseTensors(config).mtp;
  if (!specs) return undefined;
  const { layer, ...rest } = specs;
  return { ...(await readAll(reader, rest)), layer: await loadLayer(config, reader, layer) };
}

/** A structure of tensor specs with each replaced by its tensor. */
export type Loaded<T> = T extends TensorSpec ? Float32Array : T extends object ? { [K in keyof T]: Loaded<T[K]> } : T;

/** Reads every tensor of a structure of specs. */
export async function readAll<T>(reader: TensorReader, specs: T): Promise<Loaded<T>> {
  if (specs instanceof TensorSpec) return (await reader.read(specs)) as Loaded<T>;
  if (typeof specs !== 'object' || specs === null) return specs as Loaded<T>;
  const loaded: Record<string, unknown> = {};
  // One after another, so that only one tensor is being converted at a time.
  for (const [key, part] of Object.entries(specs)) loaded[key] = await readAll<unknown>(reader, part);
  return loaded as Loaded<T>;
}
