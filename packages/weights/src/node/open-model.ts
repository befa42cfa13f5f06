import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  expertLayers,
  expertTensors,
  type ExpertWeights,
  type ModelConfig,
  type TensorReader,
  type TensorSpec,
} from '@shoal/model';
import type { ModelFolder } from '@shoal/model/node';
import type { DenseEntry, PackedDense } from '../dense/layout.ts';
import { unpackPanels } from '../dense/panels.ts';
import { WeightsError } from '../errors.ts';
import { unpackExpert } from '../expert.ts';
import { MATRIX_NAMES } from '../layout.ts';
import { MANIFEST_FILE } from './files.ts';
import { openPacked, readPackedConfig, type PackedModel } from './packed-model.ts';
import type { ModelSource } from './source/model-source.ts';
import { openSource } from './source/open-source.ts';

/** A checkpoint or a packed model, open for reading tensor by tensor. */
export interface OpenModel {
  /** Where its tokenizer is. */
  readonly folder: ModelFolder;
  readonly modelId: string;
  readonly config: ModelConfig;
  /** Every tensor as float32; a packed model's as dequantised. */
  readonly reader: TensorReader;
  /** undefined for a checkpoint. */
  readonly packed: PackedModel | undefined;
  /** A packed model's dense weights, open as long as the model is. */
  readonly dense: PackedDense | undefined;
  close(): Promise<void>;
}

/** Whether a directory holds a packed model. */
export async function isPackedDir(dir: string): Promise<boolean> {
  return (await stat(join(dir, MANIFEST_FILE)).catch(() => undefined)) !== undefined;
}

/**
 * Opens a checkpoint or a packed model, which does not need its checkpoint, by a path or an opened source. Fetches what is missing
 * of a hub's. Throws the errors of `openSource`, of the checkpoint and its `check`, or of `openPacked`.
 */
export async function openModel(from: string | ModelSource): Promise<OpenModel> {
  const source = typeof from === 'string' ? await openSource(from) : from;
  if (source.dir !== undefined && (await isPackedDir(source.dir))) return openPackedModel(await openPacked(source.dir));
  const checkpoint = await source.open();
  try {
    checkpoint.check();
    const { modelId } = source;
    const folder = (await source.metaDir()) ?? { source: source.spec, files: await source.files() };
    const close = () => checkpoint.close();
    return {
      folder,
      modelId,
      config: checkpoint.config,
      reader: checkpoint,
      packed: undefined,
      dense: undefined,
      close,
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

export async function openPackedModel(packed: PackedModel): Promise<OpenModel> {
  const { dir, manifest } = packed;
  const config = await readPackedConfig(dir, manifest.numNextnPredictLayers);
  const dense = await packed.openDense(config);
  const reader = new PackedReader(config, packed, dense);
  return { folder: dir, modelId: manifest.modelId, config, reader, packed, dense, close: () => dense.close() };
}

interface ExpertTensor {
  layer: number;
  expert: number;
  of: (weights: ExpertWeights) => Float32Array | null | undefined;
}

/** Reads a packed model's tensors under their names in the checkpoint. */
class PackedReader implements TensorReader {
  readonly #config: ModelConfig;
  readonly #packed: PackedModel;
  readonly #read: PackedDense['read'];
  /** By tensor; `kv_b_proj` has two entries. */
  readonly #dense = new Map<string, DenseEntry[]>();
  readonly #experts = new Map<string, ExpertTensor>();
  /** The expert that was read last, since its other matrices are usually read next. */
  #last: { key: string; weights: Promise<ExpertWeights> } | undefined;

  constructor(config: ModelConfig, packed: PackedModel, dense: PackedDense) {
    this.#config = config;
    this.#packed = packed;
    this.#read = dense.read.bind(dense);
    for (const entry of dense.layout.segments.flatMap(({ entries }) => entries)) {
      const { name } = entry.source.tensor;
      this.#dense.set(name, [...(this.#dense.get(name) ?? []), entry]);
    }
    for (const layer of expertLayers(config)) {
      for (let expert = 0; expert < config.nRoutedExperts; expert++) {
        const specs = expertTensors(config, layer, expert);
        for (const matrix of MATRIX_NAMES) {
          const [spec, bias] = [specs[matrix], specs.biases?.[matrix]];
          if (spec) this.#experts.set(spec.name, { layer, expert, of: (weights) => weights[matrix] });
          if (bias) this.#experts.set(bias.name, { layer, expert, of: ({ biases }) => biases?.[matrix] });
        }
      }
    }
  }

  async read({ name, shape }: TensorSpec): Promise<Float32Array> {
    const values = await this.#readAny(name);
    const expected = shape.reduce((product, size) => product * size, 1);
    if (values.length === expected) return values;
    throw new WeightsError('corrupt', `${this.#packed.dir}: ${name} has ${values.length} values, not ${expected}`);
  }

  async #readAny(name: string): Promise<Float32Array> {
    const expert = this.#experts.get(name);
    const values = expert && expert.of(await this.#expert(expert));
    if (values) return values;
    const entries = this.#dense.get(name);
    if (!entries) throw new WeightsError('not-packed', `${this.#packed.dir} holds no ${name}: it was not packed`);
    const parts = await Promise.all(entries.map((entry) => this.#entry(entry)));
    return entries.length === 1 ? parts[0]! : this.#joinKvB(entries, parts);
  }

  #expert({ layer, expert }: ExpertTensor): Promise<ExpertWeights> {
    const key = `${layer}/${expert}`;
    if (this.#last?.key !== key) {
      const weights = this.#packed.readShard(layer, expert).then((shard) => {
        return unpackExpert(this.#packed.manifest.shape, shard);
      });
      this.#last = { key, weights };
    }
    return this.#last.weights;
  }

  /** [count, rows, cols] */
  async #entry(entry: DenseEntry): Promise<Float32Array> {
    const { kind, format, count, rows, cols, bytes } = entry;
    const packed = new Uint8Array(bytes);
    await this.#read(entry, packed);
    if (kind === 'vector') return new Float32Array(packed.buffer, packed.byteOffset, cols);
    const values = new Float32Array(count * rows * cols);
    const step = bytes / count;
    for (let i = 0; i < count; i++) {
      values.set(unpackPanels(format, packed.subarray(i * step, (i + 1) * step), rows, cols), i * rows * cols);
    }
    return values;
  }

  /** Joins W_UKᵀ and W_UV to `kv_b_proj`: per head first the rows of W_UK, then those of W_UV. */
  #joinKvB(entries: readonly DenseEntry[], parts: readonly Float32Array[]): Float32Array {
    const { attention } = this.#config;
    if (attention.kind !== 'mla') throw new TypeError(`kv_b_proj in a model of ${attention.kind} attention`);
    const { numAttentionHeads: heads, qkNopeHeadDim: nope, vHeadDim, kvLoraRank } = attention;
    const wUkT = parts[entries.findIndex(({ source }) => source.part === 'w-uk-t')]!;
    const wUv = parts[entries.findIndex(({ source }) => source.part === 'w-uv')]!;
    const joined = new Float32Array(heads * (nope + vHeadDim) * kvLoraRank);
    for (let h = 0; h < heads; h++) {
      const start = h * (nope + vHeadDim) * kvLoraRank;
      for (let n = 0; n < nope; n++) {
        for (let k = 0; k < kvLoraRank; k++)
          joined[start + n * kvLoraRank + k] = wUkT[(h * kvLoraRank + k) * nope + n]!;
      }
      const size = vHeadDim * kvLoraRank;
      joined.set(wUv.subarray(h * size, (h + 1) * size), start + nope * kvLoraRank);
    }
    return joined;
  }
}
