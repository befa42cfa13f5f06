import type { SwigluWeights } from './expert.ts';
import type { GateWeights } from './gate.ts';
import { splitKvB, type MlaWeights } from './mla.ts';
import { isMoeLayer, sharedIntermediateSize, type ModelConfig } from './model-config.ts';
import { expertTensorNames } from './tensor-names.ts';

/** Where weights come from: a Checkpoint, or a test's own. */
export interface TensorReader {
  has(name: string): boolean;
  read(name: string, expectedShape?: readonly number[]): Promise<Float32Array>;
}

/** What follows attention in a layer. The routed experts themselves are elsewhere, behind ExpertDispatch. */
export type FfnWeights =
  { kind: 'dense'; mlp: SwigluWeights } | { kind: 'moe'; gate: GateWeights; shared: SwigluWeights | null };

export interface LayerWeights {
  /** [hiddenSize] */
  inputLayernorm: Float32Array;
  attention: MlaWeights;
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

/** Everything that every token needs: all weights but the routed experts', as float32. */
export interface DenseWeights {
  /** [vocabSize, hiddenSize] */
  embedTokens: Float32Array;
  layers: LayerWeights[];
  /** [hiddenSize] */
  norm: Float32Array;
  /** [vocabSize, hiddenSize]; the embedding itself where `tieWordEmbeddings`. */
  lmHead: Float32Array;
  /** Absent where the checkpoint has none. */
  mtp: MtpWeights | undefined;
}

/** Read all weights but the routed experts'. Throws the reader's error when one is missing or has another shape. */
export async function loadDenseWeights(config: ModelConfig, reader: TensorReader): Promise<DenseWeights> {
  const { vocabSize, hiddenSize } = config;
  const embedTokens = await reader.read('model.embed_tokens.weight', [vocabSize, hiddenSize]);
  const layers: LayerWeights[] = [];
  for (let layer = 0; layer < config.numHiddenLayers; layer++) layers.push(await loadLayer(config, reader, layer));
  return {
    embedTokens,
    layers,
    norm: await reader.read('model.norm.weight', [hiddenSize]),
    lmHead: config.tieWordEmbeddings ? embedTokens : await reader.read('lm_head.weight', [vocabSize, hiddenSize]),
    mtp: config.numNextnPredictLayers ? await loadMtp(config, reader) : undefined,
  };
}

/** One routed expert, as float32. */
export async function loadExpert(
  config: ModelConfig,
  reader: TensorReader,
  layer: number,
  expert: number,
): Promise<SwigluWeights> {
  const names = expertTensorNames(layer, expert);
  return readSwiglu(reader, names, config.hiddenSize, config.moeIntermediateSize);
}

async function loadLayer(config: ModelConfig, reader: TensorReader, layer: number): Promise<LayerWeights> {
  const prefix = `model.layers.${layer}.`;
  const { hiddenSize } = config;
  return {
    inputLayernorm: await reader.read(`${prefix}input_layernorm.weight`, [hiddenSize]),
    attention: await loadAttention(config, reader, `${prefix}self_attn.`),
    postAttentionLayernorm: await reader.read(`${prefix}post_attention_layernorm.weight`, [hiddenSize]),
    ffn: await loadFfn(config, reader, layer, `${prefix}mlp.`),
  };
}

async function loadAttention(config: ModelConfig, reader: TensorReader, prefix: string): Promise<MlaWeights> {
  const {
    hiddenSize,
    numAttentionHeads: heads,
    qLoraRank,
    kvLoraRank,
    qkNopeHeadDim,
    qkRopeHeadDim,
    vHeadDim,
  } = config;
  const read = (name: string, shape: number[]) => reader.read(`${prefix}${name}.weight`, shape);
  const queryDim = heads * (qkNopeHeadDim + qkRopeHeadDim);
  return {
    q:
      qLoraRank === null
        ? { proj: await read('q_proj', [queryDim, hiddenSize]) }
        : {
            aProj: await read('q_a_proj', [qLoraRank, hiddenSize]),
            aLayernorm: await read('q_a_layernorm', [qLoraRank]),
            bProj: await read('q_b_proj', [queryDim, qLoraRank]),
          },
    kvAProjWithMqa: await read('kv_a_proj_with_mqa', [kvLoraRank + qkRopeHeadDim, hiddenSize]),
    kvALayernorm: await read('kv_a_layernorm', [kvLoraRank]),
    ...splitKvB(config, await read('kv_b_proj', [heads * (qkNopeHeadDim + vHeadDim), kvLoraRank])),
    oProj: await read('o_proj', [hiddenSize, heads * vHeadDim]),
  };
}

async function loadFfn(config: ModelConfig, reader: TensorReader, layer: number, prefix: string): Promise<FfnWeights> {
  const { hiddenSize, nRoutedExperts } = config;
  const mlp = (at: string, width: number) => {
    const names = { gate: `${at}gate_proj.weight`, up: `${at}up_proj.weight`, down: `${at}down_proj.weight` };
    return readSwiglu(reader, names, hiddenSize, width);
  };
  if (!isMoeLayer(config, layer)) return { kind: 'dense', mlp: await mlp(prefix, config.intermediateSize) };
  const sharedWidth = sharedIntermediateSize(config);
  return {
    kind: 'moe',
    gate: {
      weight: await reader.read(`${prefix}gate.weight`, [nRoutedExperts, hiddenSize]),
      bias: await reader.read(`${prefix}gate.e_score_correction_bias`, [nRoutedExperts]),
    },
    shared: sharedWidth ? await mlp(`${prefix}shared_experts.`, sharedWidth) : null,
  };
}

async function readSwiglu(
  reader: TensorReader,
  names: { gate: string; up: string; down: string },
  hiddenSize: number,
  width: number,
): Promise<SwigluWeights> {
  return {
    gate: await reader.read(names.gate, [width, hiddenSize]),
    up: await reader.read(names.up, [width, hiddenSize]),
    down: await reader.read(names.down, [hiddenSize, width]),
  };
}

async function loadMtp(config: ModelConfig, reader: TensorReader): Promise<MtpWeights> {
  const layer = config.numHiddenLayers;
  const prefix = `model.layers.${layer}.`;
  const { hiddenSize } = config;
  return {
    enorm: await reader.read(`${prefix}enorm.weight`, [hiddenSize]),
    hnorm: await reader.read(`${prefix}hnorm.weight`, [hiddenSize]),
    ehProj: await reader.read(`${prefix}eh_proj.weight`, [hiddenSize, 2 * hiddenSize]),
    layer: await loadLayer(config, reader, layer),
    sharedHeadNorm: await reader.read(`${prefix}shared_head.norm.weight`, [hiddenSize]),
  };
}
