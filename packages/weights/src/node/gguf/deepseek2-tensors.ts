import {
  denseTensors,
  expertTensors,
  layerTensors,
  type ModelConfig,
  splitKvB,
  type TensorReader,
  type TensorSpec,
} from '@shoal/model';
import { GGUF_TYPES, type GgufType } from './format.ts';
import type { GgufTensor } from './writer.ts';

/** Values encoded and written at a time. */
const PIECE_VALUES = 1 << 22;

type LayerTensors = ReturnType<typeof layerTensors>;
type AttentionTensors = Extract<LayerTensors['attention'], { kind: 'mla' }>;
type MoeTensors = Extract<LayerTensors['ffn'], { kind: 'moe' }>;

/** The tensors of llama.cpp's `deepseek2` in file order. Norms, gates and biases are f32. */
export function deepseek2Tensors(config: ModelConfig, reader: TensorReader, type: GgufType): GgufTensor[] {
  const make = new TensorMaker(reader, type);
  const { embedTokens, layers, norm, lmHead } = denseTensors(config);
  return [
    make.matrix('token_embd.weight', embedTokens),
    ...layers.flatMap((tensors, layer) => ofLayer(config, make, tensors, layer)),
    make.plain('output_norm.weight', norm),
    ...(lmHead ? [make.matrix('output.weight', lmHead)] : []),
  ];
}

function ofLayer(config: ModelConfig, make: TensorMaker, tensors: LayerTensors, layer: number): GgufTensor[] {
  const to = `blk.${layer}.`;
  const { attention, ffn } = tensors;
  if (attention.kind !== 'mla') throw new TypeError('deepseek2 has latent attention only');
  return [
    make.plain(`${to}attn_norm.weight`, tensors.inputLayernorm),
    ...ofAttention(config, make, attention, to),
    make.plain(`${to}ffn_norm.weight`, tensors.postAttentionLayernorm),
    ...(ffn.kind === 'dense' ? ofSwiglu(make, ffn.mlp, to, '') : ofMoe(config, make, ffn, layer)),
  ];
}

function ofAttention(config: ModelConfig, make: TensorMaker, tensors: AttentionTensors, to: string): GgufTensor[] {
  const { attention } = config;
  if (attention.kind !== 'mla') throw new TypeError('deepseek2 has latent attention only');
  const { numAttentionHeads: heads, kvLoraRank, qkNopeHeadDim, vHeadDim } = attention;
  const { q } = tensors;
  const split = async () => splitKvB(attention, await make.read(tensors.kvBProj));
  return [
    ...('proj' in q
      ? [make.matrix(`${to}attn_q.weight`, q.proj)]
      : [
          make.matrix(`${to}attn_q_a.weight`, q.aProj),
          make.plain(`${to}attn_q_a_norm.weight`, q.aLayernorm),
          make.matrix(`${to}attn_q_b.weight`, q.bProj),
        ]),
    make.matrix(`${to}attn_kv_a_mqa.weight`, tensors.kvAProjWithMqa),
    make.plain(`${to}attn_kv_a_norm.weight`, tensors.kvALayernorm),
    make.made(`${to}attn_k_b.weight`, [heads, kvLoraRank, qkNopeHeadDim], async () => (await split()).wUkT),
    make.made(`${to}attn_v_b.weight`, [heads, vHeadDim, kvLoraRank], async () => (await split()).wUv),
    make.matrix(`${to}attn_output.weight`, tensors.oProj),
  ];
}

function ofMoe(config: ModelConfig, make: TensorMaker, tensors: MoeTensors, layer: number): GgufTensor[] {
  const to = `blk.${layer}.`;
  const experts = Array.from({ length: config.nRoutedExperts }, (_, expert) => expertTensors(config, layer, expert));
  const stacked = (name: 'gate' | 'up' | 'down'): GgufTensor =>
    make.stacked(
      `${to}ffn_${name}_exps.weight`,
      experts.map((expert) => expert[name]!),
    );
  return [
    make.plain(`${to}ffn_gate_inp.weight`, tensors.gate.weight),
    ...(tensors.gate.bias ? [make.plain(`${to}exp_probs_b.bias`, tensors.gate.bias)] : []),
    stacked('gate'),
    stacked('up'),
    stacked('down'),
    ...(tensors.shared ? ofSwiglu(make, tensors.shared, to, '_shexp') : []),
  ];
}

function ofSwiglu(
  make: TensorMaker,
  { gate, up, down }: { gate: TensorSpec; up: TensorSpec; down: TensorSpec },
  to: string,
  suffix: string,
): GgufTensor[] {
  return [
    make.matrix(`${to}ffn_gate${suffix}.weight`, gate),
    make.matrix(`${to}ffn_up${suffix}.weight`, up),
    make.matrix(`${to}ffn_down${suffix}.weight`, down),
  ];
}

/** Makes tensors of a GGUF file from a checkpoint's. */
class TensorMaker {
  readonly #reader: TensorReader;
  readonly #type: GgufType;

  constructor(reader: TensorReader, type: GgufType) {
    this.#reader = reader;
    this.#type = type;
  }

  read(spec: TensorSpec): Promise<Float32Array> {
    return this.#reader.read(spec);
  }

  /** A tensor in f32. */
  plain(name: string, source: TensorSpec): GgufTensor {
    const { shape } = source;
    return { name, shape, type: 'f32', read: () => pieces(() => this.read(source), shape) };
  }

  matrix(name: string, source: TensorSpec): GgufTensor {
    return this.made(name, source.shape, () => this.read(source));
  }

  made(name: string, shape: readonly number[], values: () => Promise<Float32Array>): GgufTensor {
    return { name, shape, type: this.#typeOf(shape), read: () => pieces(values, shape) };
  }

  /** Consecutive matrices, each read when it is written. */
  stacked(name: string, sources: readonly TensorSpec[]): GgufTensor {
    const shape = [sources.length, ...sources[0]!.shape];
    const readOne = (source: TensorSpec) => pieces(() => this.read(source), source.shape);
    const read = async function* (): AsyncGenerator<Float32Array> {
      for (const source of sources) yield* readOne(source);
    };
    return { name, shape, type: this.#typeOf(shape), read };
  }

  /** Falls back to f16 if a row does not have whole blocks, as llama.cpp's quantiser does. */
  #typeOf(shape: readonly number[]): GgufType {
    return shape.at(-1)! % GGUF_TYPES[this.#type].blockValues === 0 ? this.#type : 'f16';
  }
}

/** The values in pieces of whole rows. */
async function* pieces(values: () => Promise<Float32Array>, shape: readonly number[]): AsyncGenerator<Float32Array> {
  const all = await values();
  const rowLength = shape.at(-1)!;
  const step = Math.max(1, Math.floor(PIECE_VALUES / rowLength)) * rowLength;
  for (let from = 0; from < all.length; from += step) yield all.subarray(from, from + step);
}
