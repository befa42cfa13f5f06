import { familyOf } from './families/index.ts';
import { type GqaConfig, isMoeLayer, type MlaConfig, type ModelConfig } from './model-config.ts';

/** A tensor that a checkpoint must contain: its Hugging Face name, and the shape that follows from the config. */
export class TensorSpec {
  readonly name: string;
  readonly shape: readonly number[];
  constructor(name: string, shape: readonly number[]) {
    this.name = name;
    this.shape = shape;
  }
}

/** Names of a routed expert's matrices: gate and up [moeIntermediateSize, hiddenSize], down [hiddenSize, moeIntermediateSize]. */
export function expertTensorNames(
  config: Pick<ModelConfig, 'modelType'>,
  layer: number,
  expert: number,
): { gate: string; up: string; down: string } {
  const { block, gate, up, down } = familyOf(config.modelType).moeNames;
  const name = (part: string): string => `model.layers.${layer}.${block}.experts.${expert}.${part}.weight`;
  return { gate: name(gate), up: name(up), down: name(down) };
}

/** One routed expert's tensors. */
export function expertTensors(config: ModelConfig, layer: number, expert: number) {
  const { hiddenSize, moeIntermediateSize: width } = config;
  const names = expertTensorNames(config, layer, expert);
  return {
    gate: new TensorSpec(names.gate, [width, hiddenSize]),
    up: new TensorSpec(names.up, [width, hiddenSize]),
    down: new TensorSpec(names.down, [hiddenSize, width]),
  };
}

/**
 * All tensors but the routed experts', in the structure of `DenseWeights` (with `kvBProj` whole, as stored).
 * `lmHead` is null if it is tied to the embedding.
 */
export function denseTensors(config: ModelConfig) {
  const { vocabSize, hiddenSize, numHiddenLayers } = config;
  return {
    embedTokens: new TensorSpec('model.embed_tokens.weight', [vocabSize, hiddenSize]),
    layers: Array.from({ length: numHiddenLayers }, (_, layer) => layerTensors(config, layer)),
    norm: new TensorSpec('model.norm.weight', [hiddenSize]),
    lmHead: config.tieWordEmbeddings ? null : new TensorSpec('lm_head.weight', [vocabSize, hiddenSize]),
    mtp: config.numNextnPredictLayers ? mtpTensors(config) : null,
  };
}

/** Every tensor of `denseTensors`, in the order of the forward pass. */
export function listDenseTensors(config: ModelConfig): TensorSpec[] {
  return listTensorSpecs(denseTensors(config));
}

/** Every tensor of a structure of specs, in its order. */
export function listTensorSpecs(part: unknown): TensorSpec[] {
  if (part instanceof TensorSpec) return [part];
  return typeof part === 'object' && part !== null ? Object.values(part).flatMap(listTensorSpecs) : [];
}

export function layerTensors(config: ModelConfig, layer: number) {
  const prefix = `model.layers.${layer}.`;
  const { hiddenSize, attention } = config;
  return {
    inputLayernorm: new TensorSpec(`${prefix}input_layernorm.weight`, [hiddenSize]),
    attention:
      attention.kind === 'mla'
        ? mlaTensors(attention, hiddenSize, `${prefix}self_attn.`)
        : gqaTensors(attention, hiddenSize, `${prefix}self_attn.`),
    postAttentionLayernorm: new TensorSpec(`${prefix}post_attention_layernorm.weight`, [hiddenSize]),
    ffn: isMoeLayer(config, layer)
      ? moeTensors(config, `${prefix}${familyOf(config.modelType).moeNames.block}.`)
      : { kind: 'dense' as const, mlp: swigluTensors(`${prefix}mlp.`, hiddenSize, config.intermediateSize) },
  };
}

function mlaTensors(attention: MlaConfig, hiddenSize: number, prefix: string) {
  const { numAttentionHeads: heads, qLoraRank, kvLoraRank, qkNopeHeadDim, qkRopeHeadDim, vHeadDim } = attention;
  const spec = (name: string, shape: number[]) => new TensorSpec(`${prefix}${name}.weight`, shape);
  const queryDim = heads * (qkNopeHeadDim + qkRopeHeadDim);
  return {
    kind: 'mla' as const,
    q:
      qLoraRank === null
        ? { proj: spec('q_proj', [queryDim, hiddenSize]) }
        : {
            aProj: spec('q_a_proj', [qLoraRank, hiddenSize]),
            aLayernorm: spec('q_a_layernorm', [qLoraRank]),
            bProj: spec('q_b_proj', [queryDim, qLoraRank]),
          },
    kvAProjWithMqa: spec('kv_a_proj_with_mqa', [kvLoraRank + qkRopeHeadDim, hiddenSize]),
    kvALayernorm: spec('kv_a_layernorm', [kvLoraRank]),
    kvBProj: spec('kv_b_proj', [heads * (qkNopeHeadDim + vHeadDim), kvLoraRank]),
    oProj: spec('o_proj', [hiddenSize, heads * vHeadDim]),
  };
}

function gqaTensors(attention: GqaConfig, hiddenSize: number, prefix: string) {
  const { numAttentionHeads, numKeyValueHeads, headDim, qkNorm } = attention;
  const spec = (name: string, shape: number[]) => new TensorSpec(`${prefix}${name}.weight`, shape);
  const [queryDim, keyDim] = [numAttentionHeads * headDim, numKeyValueHeads * headDim];
  const perHead = qkNorm === 'per-head';
  return {
    kind: 'gqa' as const,
    qProj: spec('q_proj', [queryDim, hiddenSize]),
    kProj: spec('k_proj', [keyDim, hiddenSize]),
    vProj: spec('v_proj', [keyDim, hiddenSize]),
    oProj: spec('o_proj', [hiddenSize, queryDim]),
    qkNorms:
      qkNorm === 'none'
        ? null
        : { q: spec('q_norm', [perHead ? headDim : queryDim]), k: spec('k_norm', [perHead ? headDim : keyDim]) },
  };
}

function moeTensors(config: ModelConfig, prefix: string) {
  const { hiddenSize, nRoutedExperts, sharedIntermediateSize: sharedWidth } = config;
  return {
    kind: 'moe' as const,
    gate: {
      weight: new TensorSpec(`${prefix}gate.weight`, [nRoutedExperts, hiddenSize]),
      bias: config.gate.hasBias ? new TensorSpec(`${prefix}gate.e_score_correction_bias`, [nRoutedExperts]) : null,
    },
    shared: sharedWidth ? swigluTensors(`${prefix}shared_experts.`, hiddenSize, sharedWidth) : null,
  };
}

function swigluTensors(prefix: string, hiddenSize: number, width: number) {
  return {
    gate: new TensorSpec(`${prefix}gate_proj.weight`, [width, hiddenSize]),
    up: new TensorSpec(`${prefix}up_proj.weight`, [width, hiddenSize]),
    down: new TensorSpec(`${prefix}down_proj.weight`, [hiddenSize, width]),
  };
}

function mtpTensors(config: ModelConfig) {
  const layer = config.numHiddenLayers;
  const prefix = `model.layers.${layer}.`;
  const { hiddenSize } = config;
  return {
    enorm: new TensorSpec(`${prefix}enorm.weight`, [hiddenSize]),
    hnorm: new TensorSpec(`${prefix}hnorm.weight`, [hiddenSize]),
    ehProj: new TensorSpec(`${prefix}eh_proj.weight`, [hiddenSize, 2 * hiddenSize]),
    layer: layerTensors(config, layer),
    sharedHeadNorm: new TensorSpec(`${prefix}shared_head.norm.weight`, [hiddenSize]),
  };
}
