import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { denseTensors, expertTensors, type ModelConfig, splitKvB, type TensorSpec } from '@shoal/model';
import { ggufBytes, type GgufInput, type GgufTensorInput } from '@shoal/model/testing/gguf';

// Writes a fixture as llama.cpp's converters would (conversion/*.py and gguf-py's tensor_mapping.py), in float32. That these files are
// right is shown by llama.cpp, which must compute transformers' logits from them.

type Json = Record<string, unknown>;
type Keys = Record<string, GgufInput | undefined>;

/** llama.cpp's names of the families. */
const ARCHITECTURES: Partial<Record<ModelConfig['modelType'], string>> = {
  deepseek_v2: 'deepseek2',
  deepseek_v3: 'deepseek2',
  dots1: 'dots1',
  ernie4_5_moe: 'ernie4_5-moe',
  glm4_moe: 'glm4moe',
  glm4_moe_lite: 'deepseek2',
  gpt_oss: 'gpt-oss',
  granitemoe: 'granitemoe',
  hunyuan_v1_moe: 'hunyuan-moe',
  kimi_k2: 'deepseek2',
  llama4: 'llama4',
  minimax_m2: 'minimax-m2',
  mixtral: 'llama',
  olmoe: 'olmoe',
  qwen2_moe: 'qwen2moe',
  qwen3_moe: 'qwen3moe',
};

/** Converters of Llama's kind put the rows of queries and keys in the order that ggml's older RoPE wants. */
const PERMUTED = new Set(['llama', 'granitemoe']);

/** A model to write. */
export interface FamilySource {
  config: ModelConfig;
  /** config.json. */
  raw: Json;
  /** A directory with the tokenizer's files. */
  tokenizerDir: string;
  read(spec: TensorSpec): Promise<Float32Array>;
}

/** Writes a model as one GGUF file. */
export async function writeFamilyGguf(source: FamilySource, path: string): Promise<void> {
  const { config, raw } = source;
  const architecture = ARCHITECTURES[config.modelType]!;
  const keys: Keys = { ...commonKeys(config, raw), ...familyKeys(config, raw, architecture) };
  const metadata: [string, GgufInput][] = [
    ['general.architecture', architecture],
    ...Object.entries(keys).flatMap(([key, value]): [string, GgufInput][] =>
      value === undefined ? [] : [[`${architecture}.${key}`, value]],
    ),
    ...(await tokenizerKeys(source.tokenizerDir, config)),
  ];
  const tensors = await new Writer(source, architecture).all();
  await writeFile(path, ggufBytes({ metadata, tensors }));
}

const f32 = (value: unknown): GgufInput => ({ f32: value as number });
const maybeF32 = (value: unknown): GgufInput | undefined =>
  value === undefined || value === null ? undefined : f32(value);
const whole = (value: unknown): GgufInput | undefined => (typeof value === 'number' ? value : undefined);

/** TextModel.set_gguf_parameters of conversion/base.py. */
function commonKeys(config: ModelConfig, raw: Json): Keys {
  const text = (raw['text_config'] ?? raw) as Json;
  const rope = (text['rope_parameters'] ?? {}) as Json;
  const isYarn = rope['rope_type'] === 'yarn';
  const { attention } = config;
  return {
    vocab_size: config.vocabSize,
    context_length: config.maxPositionEmbeddings,
    embedding_length: config.hiddenSize,
    block_count: config.numHiddenLayers + config.numNextnPredictLayers,
    feed_forward_length: config.intermediateSize,
    expert_count: config.nRoutedExperts,
    expert_used_count: config.numExpertsPerTok,
    expert_feed_forward_length: config.moeIntermediateSize,
    'attention.head_count': attention.numAttentionHeads,
    'attention.head_count_kv': attention.kind === 'gqa' ? attention.numKeyValueHeads : 1,
    'attention.layer_norm_rms_epsilon': f32(config.rmsNormEps),
    'rope.freq_base': f32(rope['rope_theta'] ?? text['rope_theta']),
    'rope.scaling.type': isYarn ? 'yarn' : undefined,
    'rope.scaling.factor': isYarn ? f32(rope['factor']) : undefined,
    'rope.scaling.original_context_length': isYarn ? whole(rope['original_max_position_embeddings']) : undefined,
    'rope.scaling.yarn_beta_fast': isYarn ? maybeF32(rope['beta_fast']) : undefined,
    'rope.scaling.yarn_beta_slow': isYarn ? maybeF32(rope['beta_slow']) : undefined,
    ...(attention.kind === 'gqa'
      ? {
          'attention.key_length': attention.headDim,
          'attention.value_length': attention.headDim,
          'rope.dimension_count': config.rope.dim,
        }
      : {}),
  };
}

/** What the family's own converter adds. */
function familyKeys(config: ModelConfig, raw: Json, architecture: string): Keys {
  const { gate, attention } = config;
  const text = (raw['text_config'] ?? raw) as Json;
  const leadingDense = config.layerKinds.indexOf('moe');
  const gating: Keys = {
    expert_gating_func: gate.scoring === 'sigmoid' ? 2 : 1,
    expert_weights_scale: f32(gate.routedScalingFactor),
    expert_weights_norm: gate.normTopkProb,
  };
  const nextn = config.numNextnPredictLayers || undefined;
  switch (architecture) {
    case 'deepseek2': {
      if (attention.kind !== 'mla') throw new TypeError('deepseek2 has latent attention');
      const rope = (raw['rope_parameters'] ?? {}) as Json;
      return {
        ...gating,
        leading_dense_block_count: leadingDense,
        expert_shared_count: config.sharedIntermediateSize / config.moeIntermediateSize,
        expert_group_count: gate.nGroup,
        expert_group_used_count: gate.topkGroup,
        nextn_predict_layers: nextn,
        'attention.q_lora_rank': attention.qLoraRank ?? undefined,
        'attention.kv_lora_rank': attention.kvLoraRank,
        'attention.key_length': attention.kvLoraRank + attention.qkRopeHeadDim,
        'attention.value_length': attention.kvLoraRank,
        'attention.key_length_mla': attention.qkNopeHeadDim + attention.qkRopeHeadDim,
        'attention.value_length_mla': attention.vHeadDim,
        'rope.dimension_count': attention.qkRopeHeadDim,
        'rope.scaling.yarn_log_multiplier':
          rope['mscale_all_dim'] === undefined ? undefined : f32(0.1 * (rope['mscale_all_dim'] as number)),
      };
    }
    case 'glm4moe':
    case 'dots1':
      return {
        ...gating,
        leading_dense_block_count: leadingDense,
        expert_shared_count: config.sharedIntermediateSize / config.moeIntermediateSize,
        nextn_predict_layers: nextn,
      };
    case 'qwen2moe':
      return { expert_shared_feed_forward_length: config.sharedIntermediateSize };
    case 'gpt-oss':
      return { 'attention.sliding_window': whole(text['sliding_window']) };
    case 'minimax-m2':
      return { expert_gating_func: 2 };
    case 'llama4':
      return { interleave_moe_layer_step: whole(text['interleave_moe_layer_step']), leading_dense_block_count: 0 };
    case 'granitemoe':
      return {
        feed_forward_length: config.moeIntermediateSize,
        'attention.scale': f32(raw['attention_multiplier']),
        embedding_scale: f32(raw['embedding_multiplier']),
        residual_scale: f32(raw['residual_multiplier']),
        logit_scale: f32(raw['logits_scaling']),
      };
    case 'ernie4_5-moe':
      return {
        interleave_moe_layer_step: whole(raw['moe_layer_interval']),
        leading_dense_block_count: leadingDense,
        expert_shared_count: whole(raw['moe_num_shared_experts']),
        expert_shared_feed_forward_length: config.sharedIntermediateSize,
      };
    case 'hunyuan-moe':
      return { expert_shared_feed_forward_length: config.sharedIntermediateSize, expert_shared_count: 1 };
    case 'llama':
    case 'olmoe':
      // Their experts are as wide as `intermediate_size`.
      return { feed_forward_length: config.moeIntermediateSize, expert_feed_forward_length: undefined };
    default:
      return {};
  }
}

interface TokenizerFile {
  added_tokens: { id: number; content: string; special: boolean }[];
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
}

async function tokenizerKeys(dir: string, config: ModelConfig): Promise<[string, GgufInput][]> {
  const { added_tokens: added, model } = JSON.parse(
    await readFile(join(dir, 'tokenizer.json'), 'utf8'),
  ) as TokenizerFile;
  const settings = JSON.parse(await readFile(join(dir, 'tokenizer_config.json'), 'utf8')) as Json;
  const tokens = Array.from({ length: config.vocabSize }, (_, id) => `[PAD${id}]`);
  const types = tokens.map(() => 5);
  for (const [token, id] of Object.entries(model.vocab)) [tokens[id], types[id]] = [token, 1];
  for (const { id, content, special } of added) [tokens[id], types[id]] = [content, special ? 3 : 4];
  const template = settings['chat_template'];
  return [
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', 'gpt-2'],
    ['tokenizer.ggml.tokens', tokens],
    ['tokenizer.ggml.token_type', { i32s: types }],
    ['tokenizer.ggml.merges', model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')))],
    ['tokenizer.ggml.eos_token_id', config.eosTokenIds[0]!],
    ...(config.bosTokenId === null ? [] : [['tokenizer.ggml.bos_token_id', config.bosTokenId] as [string, GgufInput]]),
    ['tokenizer.ggml.add_bos_token', settings['add_bos_token'] === true],
    ...(typeof template === 'string' ? [['tokenizer.chat_template', template] as [string, GgufInput]] : []),
  ];
}

const F32 = 0;

/** Makes the tensors, all in float32. */
class Writer {
  readonly #source: FamilySource;
  readonly #config: ModelConfig;
  readonly #architecture: string;
  readonly #tensors: GgufTensorInput[] = [];

  constructor(source: FamilySource, architecture: string) {
    this.#source = source;
    this.#config = source.config;
    this.#architecture = architecture;
  }

  async all(): Promise<GgufTensorInput[]> {
    const { embedTokens, layers, norm, lmHead, mtp } = denseTensors(this.#config);
    await this.#copy('token_embd.weight', embedTokens);
    await this.#copy('output_norm.weight', norm);
    await this.#copy('output.weight', lmHead);
    this.#ropeFactors();
    for (const [index, layer] of layers.entries()) await this.#layer(index, layer);
    if (!mtp) return this.#tensors;
    const index = this.#config.numHiddenLayers;
    await this.#layer(index, mtp.layer);
    await this.#copy(`blk.${index}.nextn.enorm.weight`, mtp.enorm);
    await this.#copy(`blk.${index}.nextn.hnorm.weight`, mtp.hnorm);
    await this.#copy(`blk.${index}.nextn.eh_proj.weight`, mtp.ehProj);
    await this.#copy(`blk.${index}.nextn.shared_head_norm.weight`, mtp.sharedHeadNorm);
    return this.#tensors;
  }

  #add(name: string, shape: readonly number[], values: Float32Array): void {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();
    this.#tensors.push({ name, shape, type: F32, bytes });
  }

  /** LlamaModel.generate_extra_tensors. */
  #ropeFactors(): void {
    const text = (this.#source.raw['text_config'] ?? this.#source.raw) as Json;
    const rope = (text['rope_parameters'] ?? {}) as Record<string, number | string>;
    if (rope['rope_type'] !== 'llama3') return;
    const [factor, low, high] = [rope['factor'], rope['low_freq_factor'], rope['high_freq_factor']].map(Number);
    const context = Number(rope['original_max_position_embeddings']);
    const { dim } = this.#config.rope;
    const factors = Float32Array.from({ length: dim / 2 }, (_, pair) => {
      const wavelength = 2 * Math.PI * Number(rope['rope_theta']) ** ((2 * pair) / dim);
      if (wavelength < context / high!) return 1;
      if (wavelength > context / low!) return factor!;
      const smooth = (context / wavelength - low!) / (high! - low!);
      return 1 / ((1 - smooth) / factor! + smooth);
    });
    this.#add('rope_freqs.weight', [dim / 2], factors);
  }

  async #copy(name: string, spec: TensorSpec | null): Promise<void> {
    if (!spec) return;
    // Of a matrix of one row torch makes a vector.
    const shape = spec.shape.length === 2 && spec.shape[0] === 1 ? spec.shape.slice(1) : spec.shape;
    this.#add(name, shape, await this.#source.read(spec));
  }

  async #layer(index: number, layer: ReturnType<typeof denseTensors>['layers'][number]): Promise<void> {
    const block = `blk.${index}.`;
    const { attention, ffn } = layer;
    await this.#copy(`${block}attn_norm.weight`, layer.inputLayernorm);
    await (attention.kind === 'mla' ? this.#latent(block, attention) : this.#heads(block, attention));
    const isPost = this.#architecture === 'glm4moe' || this.#architecture === 'gpt-oss';
    await this.#copy(`${block}${isPost ? 'post_attention_norm' : 'ffn_norm'}.weight`, layer.postAttentionLayernorm);
    if (ffn.kind === 'dense') return this.#ffn(block, '', ffn.mlp);
    await this.#copy(`${block}ffn_gate_inp.weight`, ffn.gate.weight);
    await this.#copy(`${block}ffn_gate_inp.bias`, ffn.gate.logitBias);
    await this.#copy(`${block}exp_probs_b.bias`, ffn.gate.bias);
    await this.#copy(`${block}ffn_gate_inp_shexp.weight`, ffn.sharedGate);
    if (ffn.shared) await this.#ffn(block, '_shexp', ffn.shared);
    await this.#experts(index);
  }

  async #ffn(
    block: string,
    suffix: string,
    specs: { gate: TensorSpec; up: TensorSpec; down: TensorSpec },
  ): Promise<void> {
    for (const part of ['gate', 'up', 'down'] as const)
      await this.#copy(`${block}ffn_${part}${suffix}.weight`, specs[part]);
  }

  async #experts(layer: number): Promise<void> {
    const experts = Array.from({ length: this.#config.nRoutedExperts }, (_, index) =>
      expertTensors(this.#config, layer, index),
    );
    for (const part of ['gate', 'up', 'down'] as const) {
      const name = `blk.${layer}.ffn_${part}_exps`;
      await this.#stack(
        `${name}.weight`,
        experts.map((expert) => expert[part]),
      );
      await this.#stack(
        `${name}.bias`,
        experts.map((expert) => expert.biases?.[part] ?? null),
      );
    }
  }

  async #stack(name: string, specs: readonly (TensorSpec | null)[]): Promise<void> {
    const [first] = specs;
    if (!first) return;
    const length = first.shape.reduce((a, b) => a * b, 1);
    const values = new Float32Array(specs.length * length);
    for (const [i, spec] of specs.entries()) values.set(await this.#source.read(spec!), i * length);
    this.#add(name, [specs.length, ...first.shape], values);
  }

  async #latent(block: string, specs: Extract<LayerAttention, { kind: 'mla' }>): Promise<void> {
    const { attention } = this.#config;
    if (attention.kind !== 'mla') throw new TypeError('not latent attention');
    const { numAttentionHeads: heads, kvLoraRank, qkNopeHeadDim, vHeadDim } = attention;
    if ('proj' in specs.q) {
      await this.#copy(`${block}attn_q.weight`, specs.q.proj);
    } else {
      await this.#copy(`${block}attn_q_a.weight`, specs.q.aProj);
      await this.#copy(`${block}attn_q_a_norm.weight`, specs.q.aLayernorm);
      await this.#copy(`${block}attn_q_b.weight`, specs.q.bProj);
    }
    await this.#copy(`${block}attn_kv_a_mqa.weight`, specs.kvAProjWithMqa);
    await this.#copy(`${block}attn_kv_a_norm.weight`, specs.kvALayernorm);
    const { wUkT, wUv } = splitKvB(attention, await this.#source.read(specs.kvBProj));
    this.#add(`${block}attn_k_b.weight`, [heads, kvLoraRank, qkNopeHeadDim], wUkT);
    this.#add(`${block}attn_v_b.weight`, [heads, vHeadDim, kvLoraRank], wUv);
    await this.#copy(`${block}attn_output.weight`, specs.oProj);
  }

  async #heads(block: string, specs: Extract<LayerAttention, { kind: 'gqa' }>): Promise<void> {
    for (const part of ['q', 'k', 'v'] as const) {
      const weight = specs[`${part}Proj`];
      const bias = specs.biases[part];
      if (part !== 'v' && PERMUTED.has(this.#architecture)) {
        await this.#permuted(`${block}attn_${part}.weight`, weight);
        if (bias) await this.#permuted(`${block}attn_${part}.bias`, bias);
      } else {
        await this.#copy(`${block}attn_${part}.weight`, weight);
        await this.#copy(`${block}attn_${part}.bias`, bias);
      }
    }
    await this.#copy(`${block}attn_q_norm.weight`, specs.qkNorms?.q ?? null);
    await this.#copy(`${block}attn_k_norm.weight`, specs.qkNorms?.k ?? null);
    await this.#copy(`${block}attn_sinks.weight`, specs.sinks);
    await this.#copy(`${block}attn_output.weight`, specs.oProj);
    await this.#copy(`${block}attn_output.bias`, specs.biases.o);
  }

  /** LlamaModel.permute: [heads, 2, headDim / 2, …] with its middle axes swapped. */
  async #permuted(name: string, spec: TensorSpec): Promise<void> {
    const { attention } = this.#config;
    if (attention.kind !== 'gqa') throw new TypeError('only heads are permuted');
    const half = attention.headDim / 2;
    const values = await this.#source.read(spec);
    const cols = spec.shape[1] ?? 1;
    const permuted = new Float32Array(values.length);
    for (let row = 0; row < spec.shape[0]!; row++) {
      const head = Math.floor(row / (2 * half));
      const [side, i] = [Math.floor((row % (2 * half)) / half), row % half];
      permuted.set(values.subarray(row * cols, (row + 1) * cols), (head * 2 * half + 2 * i + side) * cols);
    }
    this.#add(name, spec.shape, permuted);
  }
}

type LayerAttention = ReturnType<typeof denseTensors>['layers'][number]['attention'];
