import { isGated } from './expert.ts';
import { familyOf } from './families/index.ts';
import type { StoredAt } from './families/family.ts';
import { gateWidth } from './gate-width.ts';
import {
  type EncoderConfig,
  type GqaConfig,
  isMoeLayer,
  type MlaConfig,
  type ModelConfig,
  type Seq2SeqConfig,
} from './model-config.ts';

/** A tensor that a model consists of, with the shape that follows from the config. */
export class TensorSpec {
  /** The same for all families: the names of Qwen3's and DeepSeek's checkpoints. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Where a checkpoint in safetensors has it. */
  readonly stored: StoredAt;
  constructor(name: string, shape: readonly number[], stored: StoredAt = { name }) {
    this.name = name;
    this.shape = shape;
    this.stored = stored;
  }
}

/** Makes specs of a model's tensors whose names begin with a prefix. */
class Specs {
  readonly #config: ModelConfig;
  readonly #prefix: string;

  constructor(config: ModelConfig, prefix: string) {
    this.#config = config;
    this.#prefix = prefix;
  }

  tensor(name: string, shape: readonly number[]): TensorSpec {
    const whole = `${this.#prefix}${name}`;
    return new TensorSpec(whole, shape, familyOf(this.#config.modelType).storedAt(whole, this.#config));
  }

  weight(name: string, shape: readonly number[]): TensorSpec {
    return this.tensor(`${name}.weight`, shape);
  }

  /** The gain and the bias of a LayerNorm over the hidden state. */
  norm(name: string): { weight: TensorSpec; bias: TensorSpec } {
    const shape = [this.#config.hiddenSize];
    return { weight: this.weight(name, shape), bias: this.tensor(`${name}.bias`, shape) };
  }

  /** The same, or of an RMSNorm, which has no bias. */
  normOf(name: string, kind: Seq2SeqConfig['norm']): { weight: TensorSpec; bias: TensorSpec | null } {
    return kind === 'layer' ? this.norm(name) : { weight: this.weight(name, [this.#config.hiddenSize]), bias: null };
  }

  /** A dense layer's FFN of two matrices. */
  plainFfn({ hiddenSize, intermediateSize: width }: ModelConfig, { up, down }: EncoderConfig['ffnBias']) {
    return {
      kind: 'dense' as const,
      up: this.weight('mlp.up_proj', [width, hiddenSize]),
      upBias: this.bias('mlp.up_proj', width, up),
      down: this.weight('mlp.down_proj', [hiddenSize, width]),
      downBias: this.bias('mlp.down_proj', hiddenSize, down),
    };
  }

  /** One per output, or null without a bias. */
  bias(name: string, size: number, wanted: boolean): TensorSpec | null {
    return wanted ? this.tensor(`${name}.bias`, [size]) : null;
  }
}

const layerPrefix = (layer: number): string => `model.layers.${layer}.`;

/** One routed expert's tensors, in the structure of `ExpertWeights`. */
export function expertTensors(config: ModelConfig, layer: number, expert: number) {
  const { hiddenSize, moeIntermediateSize: width } = config;
  const specs = new Specs(config, `${layerPrefix(layer)}mlp.experts.${expert}.`);
  const isGate = isGated(config.expert.activation);
  return {
    gate: isGate ? specs.weight('gate_proj', [width, hiddenSize]) : null,
    up: specs.weight('up_proj', [width, hiddenSize]),
    down: specs.weight('down_proj', [hiddenSize, width]),
    biases: config.expert.bias
      ? {
          gate: specs.bias('gate_proj', width, isGate),
          up: specs.tensor('up_proj.bias', [width]),
          down: specs.tensor('down_proj.bias', [hiddenSize]),
        }
      : null,
  };
}

/**
 * All tensors but the routed experts', in the structure of `DenseWeights` (with `kvBProj` whole, as stored).
 * `lmHead` is null if it is tied to the embedding.
 */
export function denseTensors(config: ModelConfig) {
  const { vocabSize, hiddenSize, numHiddenLayers } = config;
  const specs = new Specs(config, '');
  return {
    embedTokens: specs.weight('model.embed_tokens', [vocabSize, hiddenSize]),
    layers: Array.from({ length: numHiddenLayers }, (_, layer) => layerTensors(config, layer)),
    norm: specs.weight('model.norm', [hiddenSize]),
    lmHead: config.tieWordEmbeddings ? null : specs.weight('lm_head', [vocabSize, hiddenSize]),
    mtp: config.numNextnPredictLayers ? mtpTensors(config) : null,
  };
}

/** The same of an encoder, in the structure of `EncoderWeights`. */
export function encoderTensors(config: ModelConfig, { tokenTypes, ffnBias }: EncoderConfig) {
  const { vocabSize, hiddenSize, numHiddenLayers, attention } = config;
  if (attention.kind === 'mla') throw new TypeError('an encoder with latent attention');
  const specs = new Specs(config, '');
  return {
    embedTokens: specs.weight('model.embed_tokens', [vocabSize, hiddenSize]),
    tokenType: tokenTypes ? specs.weight('model.embed_token_types', [hiddenSize]) : null,
    embedNorm: specs.norm('model.embed_norm'),
    layers: Array.from({ length: numHiddenLayers }, (_, layer) => {
      const own = new Specs(config, layerPrefix(layer));
      return {
        attention: gqaTensors(config, attention, layer),
        attentionNorm: own.norm('attention_norm'),
        ffn: isMoeLayer(config, layer)
          ? { ...moeTensors(config, layer), bias: own.tensor('mlp.experts.bias', [hiddenSize]) }
          : own.plainFfn(config, ffnBias),
        ffnNorm: own.norm('ffn_norm'),
      };
    }),
  };
}

/** The same of an encoder–decoder, in the structure of `Seq2SeqWeights`. */
export function seq2seqTensors(config: ModelConfig, { encoderLayers, norm, positions }: Seq2SeqConfig) {
  const { vocabSize, hiddenSize, numHiddenLayers, attention, expert } = config;
  if (attention.kind === 'mla') throw new TypeError('an encoder–decoder with latent attention');
  const specs = new Specs(config, '');
  const ffnBias = { up: expert.bias, down: expert.bias };
  const table = (stack: string, buckets: number) =>
    specs.weight(`model.${stack}.position_bias`, [buckets, attention.numAttentionHeads]);
  return {
    embedTokens: specs.weight('model.embed_tokens', [vocabSize, hiddenSize]),
    positionBias:
      positions.kind === 'buckets'
        ? { encoder: table('encoder', positions.buckets), decoder: table('decoder', positions.buckets) }
        : null,
    layers: Array.from({ length: numHiddenLayers }, (_, layer) => {
      const own = new Specs(config, layerPrefix(layer));
      const isDecoder = layer >= encoderLayers;
      return {
        attentionNorm: own.normOf('input_layernorm', norm),
        attention: gqaTensors(config, attention, layer),
        cross: isDecoder
          ? {
              norm: own.normOf('cross_attention_layernorm', norm),
              attention: gqaTensors(config, attention, layer, 'cross_attn'),
            }
          : null,
        ffnNorm: own.normOf('post_attention_layernorm', norm),
        ffn: isMoeLayer(config, layer) ? moeTensors(config, layer) : own.plainFfn(config, ffnBias),
      };
    }),
    encoderNorm: specs.normOf('model.encoder.norm', norm),
    norm: specs.normOf('model.norm', norm),
  };
}

/** Every tensor but the routed experts', in the order of the forward pass. */
export function listDenseTensors(config: ModelConfig): TensorSpec[] {
  const { encoder, seq2seq } = config;
  if (seq2seq) return listTensorSpecs(seq2seqTensors(config, seq2seq));
  return listTensorSpecs(encoder ? encoderTensors(config, encoder) : denseTensors(config));
}

/** Every tensor of a structure of specs, in its order. */
export function listTensorSpecs(part: unknown): TensorSpec[] {
  if (part instanceof TensorSpec) return [part];
  return typeof part === 'object' && part !== null ? Object.values(part).flatMap(listTensorSpecs) : [];
}

export function layerTensors(config: ModelConfig, layer: number) {
  const { hiddenSize, attention } = config;
  const specs = new Specs(config, layerPrefix(layer));
  return {
    inputLayernorm: specs.weight('input_layernorm', [hiddenSize]),
    attention: attention.kind === 'mla' ? mlaTensors(config, attention, layer) : gqaTensors(config, attention, layer),
    postAttentionLayernorm: specs.weight('post_attention_layernorm', [hiddenSize]),
    ffn: isMoeLayer(config, layer)
      ? moeTensors(config, layer)
      : { kind: 'dense' as const, mlp: swigluTensors(config, `${layerPrefix(layer)}mlp.`, config.intermediateSize) },
  };
}

function mlaTensors(config: ModelConfig, attention: MlaConfig, layer: number) {
  const { numAttentionHeads: heads, qLoraRank, kvLoraRank, qkNopeHeadDim, qkRopeHeadDim, vHeadDim } = attention;
  const { hiddenSize } = config;
  const specs = new Specs(config, `${layerPrefix(layer)}self_attn.`);
  const queryDim = heads * (qkNopeHeadDim + qkRopeHeadDim);
  return {
    kind: 'mla' as const,
    q:
      qLoraRank === null
        ? { proj: specs.weight('q_proj', [queryDim, hiddenSize]) }
        : {
            aProj: specs.weight('q_a_proj', [qLoraRank, hiddenSize]),
            aLayernorm: specs.weight('q_a_layernorm', [qLoraRank]),
            bProj: specs.weight('q_b_proj', [queryDim, qLoraRank]),
          },
    kvAProjWithMqa: specs.weight('kv_a_proj_with_mqa', [kvLoraRank + qkRopeHeadDim, hiddenSize]),
    kvALayernorm: specs.weight('kv_a_layernorm', [kvLoraRank]),
    kvBProj: specs.weight('kv_b_proj', [heads * (qkNopeHeadDim + vHeadDim), kvLoraRank]),
    oProj: specs.weight('o_proj', [hiddenSize, heads * vHeadDim]),
  };
}

function gqaTensors(config: ModelConfig, attention: GqaConfig, layer: number, module = 'self_attn') {
  const { numAttentionHeads, numKeyValueHeads, headDim, qkNorm, bias } = attention;
  const { hiddenSize } = config;
  const specs = new Specs(config, `${layerPrefix(layer)}${module}.`);
  const [queryDim, keyDim] = [numAttentionHeads * headDim, numKeyValueHeads * headDim];
  const perHead = qkNorm === 'per-head';
  return {
    kind: 'gqa' as const,
    qProj: specs.weight('q_proj', [queryDim, hiddenSize]),
    kProj: specs.weight('k_proj', [keyDim, hiddenSize]),
    vProj: specs.weight('v_proj', [keyDim, hiddenSize]),
    oProj: specs.weight('o_proj', [hiddenSize, queryDim]),
    biases: {
      q: specs.bias('q_proj', queryDim, bias.qkv),
      k: specs.bias('k_proj', keyDim, bias.qkv),
      v: specs.bias('v_proj', keyDim, bias.qkv),
      o: specs.bias('o_proj', hiddenSize, bias.o),
    },
    sinks: attention.sinks ? specs.tensor('sinks', [numAttentionHeads]) : null,
    qkNorms:
      qkNorm === 'none' || qkNorm === 'l2'
        ? null
        : {
            q: specs.weight('q_norm', [perHead ? headDim : queryDim]),
            k: specs.weight('k_norm', [perHead ? headDim : keyDim]),
          },
  };
}

function moeTensors(config: ModelConfig, layer: number) {
  const { hiddenSize, nRoutedExperts, sharedIntermediateSize: sharedWidth, gate } = config;
  const prefix = `${layerPrefix(layer)}mlp.`;
  const specs = new Specs(config, prefix);
  return {
    kind: 'moe' as const,
    gate: {
      weight: specs.weight('gate', [gateWidth(config), hiddenSize]),
      logitBias: specs.bias('gate', nRoutedExperts, gate.hasLogitBias),
      bias: gate.hasBias ? specs.tensor('gate.e_score_correction_bias', [nRoutedExperts]) : null,
    },
    shared: sharedWidth ? swigluTensors(config, `${prefix}shared_experts.`, sharedWidth) : null,
    sharedGate: config.sharedExpertGate ? specs.weight('shared_expert_gate', [1, hiddenSize]) : null,
  };
}

function swigluTensors(config: ModelConfig, prefix: string, width: number) {
  const { hiddenSize } = config;
  const specs = new Specs(config, prefix);
  return {
    gate: specs.weight('gate_proj', [width, hiddenSize]),
    up: specs.weight('up_proj', [width, hiddenSize]),
    down: specs.weight('down_proj', [hiddenSize, width]),
  };
}

function mtpTensors(config: ModelConfig) {
  const layer = config.numHiddenLayers;
  const { hiddenSize } = config;
  const specs = new Specs(config, layerPrefix(layer));
  return {
    enorm: specs.weight('enorm', [hiddenSize]),
    hnorm: specs.weight('hnorm', [hiddenSize]),
    ehProj: specs.weight('eh_proj', [hiddenSize, 2 * hiddenSize]),
    layer: layerTensors(config, layer),
    sharedHeadNorm: specs.weight('shared_head.norm', [hiddenSize]),
  };
}
