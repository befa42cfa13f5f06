import { join } from 'node:path';
import { checkTensors, requireShape } from './check-tensors.ts';
import { parseModelConfig } from './config.ts';
import { CheckpointError, type CheckpointErrorReason } from './errors.ts';
import { applyBlockScales } from './fp8.ts';
import { readJson } from './json-file.ts';
import { withoutMtp, type ModelConfig } from './model-config.ts';
import type { Mxfp4Rows } from './mxfp4.ts';
import { dtypeBytes, toFloat32, type TensorInfo } from './safetensors.ts';
import { storedShape } from './stored-part.ts';
import { TensorSpec } from './tensors.ts';
import { type OpenWeightFile, openWeightFiles, type WeightFiles } from './weight-files.ts';

/** Block scales kept between reads of rows: V3's largest takes 13 KB. */
const MAX_RECENT_SCALES = 16;

/**
 * A model's weights, open for ranged reads, so that only the tensors being read are in memory.
 * Reads after `close()`, of tensors that aren't there or from a file that has shrunk throw a CheckpointError.
 */
export interface Checkpoint {
  /** The directory or file, for errors. */
  readonly dir: string;
  readonly config: ModelConfig;
  /** Names of all stored tensors. */
  readonly tensors: readonly string[];
  has(spec: TensorSpec): boolean;
  /**
   * Checks that every tensor of the model is stored, in the right shape, and no other: a bias that is not added changes every
   * answer. Reads no weights. Throws CheckpointError `missing-tensor`, `wrong-shape`, `wrong-dtype` or `unknown-tensor`.
   */
  check(): void;
  /** What is known of a stored tensor without reading it. */
  info(name: string): { dtype: string; shape: readonly number[]; bytes: number };
  /** Bytes of a tensor as stored. */
  bytesOf(spec: TensorSpec): number;
  /**
   * A tensor as float32, row-major, dequantised. Throws `wrong-shape` if the stored shape is not as the spec requires, and
   * `not-finite` if a value is NaN or ∞.
   */
  read(spec: TensorSpec): Promise<Float32Array>;
  /**
   * Some rows of a tensor (a vector's values are rows of one), as `read` gives them: [numRows, …]. With `scratch` the result is
   * in that memory and valid until its next use.
   */
  readRows(spec: TensorSpec, firstRow: number, numRows: number, scratch?: RowScratch): Promise<Float32Array>;
  /** The rows as stored in MXFP4; undefined where the tensor is stored otherwise. */
  mxfp4Rows?(spec: TensorSpec, firstRow: number, numRows: number): Promise<Mxfp4Rows | undefined>;
  /** A stored tensor's bytes, little-endian. */
  readRaw(name: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Memory that reads of rows share, one read at a time. Grows to the largest. */
export class RowScratch {
  #raw = new Uint8Array(0);
  #values = new Float32Array(0);
  #held: { key: string; values: Float32Array } | undefined;

  raw(bytes: number): Uint8Array {
    if (this.#raw.byteLength < bytes) this.#raw = new Uint8Array(bytes);
    return this.#raw.subarray(0, bytes);
  }

  values(length: number): Float32Array {
    if (this.#values.length < length) this.#values = new Float32Array(length);
    return this.#values.subarray(0, length);
  }

  /** A matrix that has to be read whole for any of its rows, kept until another is asked for. */
  async whole(key: string, read: () => Promise<Float32Array>): Promise<Float32Array> {
    if (this.#held?.key !== key) this.#held = { key, values: await read() };
    return this.#held.values;
  }
}

/**
 * Opens a Hugging Face model directory: `config.json` with `model.safetensors` or `model.safetensors.index.json`. With `openFile`
 * the weights may be elsewhere.
 */
export async function openDirectory(dir: string, openFile?: OpenWeightFile): Promise<Checkpoint> {
  const config = parseModelConfig(await readJson(join(dir, 'config.json')), join(dir, 'config.json'));
  const files = await openWeightFiles(dir, openFile);
  return new SafetensorsCheckpoint(dir, withMtpAsStored(config, files), files);
}

/**
 * Tools that rewrite a DeepSeek-V3 checkpoint drop its MTP module but leave `num_nextn_predict_layers` as it was. The module is
 * not part of the main model, so it may be absent altogether, but not in part.
 */
function withMtpAsStored(config: ModelConfig, { tensors }: WeightFiles): ModelConfig {
  const prefix = `model.layers.${config.numHiddenLayers}.`;
  if (config.numNextnPredictLayers === 0 || [...tensors.keys()].some((name) => name.startsWith(prefix))) return config;
  return withoutMtp(config);
}

class SafetensorsCheckpoint implements Checkpoint {
  readonly dir: string;
  readonly config: ModelConfig;
  readonly tensors: readonly string[];
  readonly #files: WeightFiles;
  readonly #recentScales = new Map<string, Float32Array>();

  constructor(dir: string, config: ModelConfig, files: WeightFiles) {
    this.dir = dir;
    this.config = config;
    this.tensors = [...files.tensors.keys()];
    this.#files = files;
  }

  check(): void {
    checkTensors(this.config, this);
  }

  has({ stored }: TensorSpec): boolean {
    return this.#files.tensors.has(stored.name);
  }

  info(name: string): TensorInfo {
    return this.#find(name).info;
  }

  bytesOf({ stored, shape }: TensorSpec): number {
    const { dtype } = this.#find(stored.name).info;
    return shape.reduce((product, size) => product * size, dtypeBytes[dtype]);
  }

  read(spec: TensorSpec): Promise<Float32Array> {
    return this.readRows(spec, 0, spec.shape[0] ?? 1);
  }

  async readRows(
    spec: TensorSpec,
    firstRow: number,
    numRows: number,
    scratch = new RowScratch(),
  ): Promise<Float32Array> {
    const { name, index = 0, rows, transposed } = spec.stored;
    const { file, info } = this.#find(name);
    requireShape(info.shape, storedShape(spec, this.config.nRoutedExperts), file, name);
    const part = spec.stored.index === undefined ? info.shape : info.shape.slice(1);
    const { first = 0, step = 1 } = rows ?? {};
    const cols = spec.shape[1] ?? 1;
    if (!transposed) {
      const start = index * (part[0] ?? 1) + first + firstRow * step;
      const read = await this.#readStored(name, start, (numRows - 1) * step + 1, cols, scratch);
      return step === 1 ? read : everyRow(read, numRows, step, cols);
    }
    const storedCols = part[1]!;
    const whole = await scratch.whole(`${name}/${index}`, async () => {
      return (await this.#readStored(name, index * cols, cols, storedCols, new RowScratch())).slice();
    });
    const out = scratch.values(numRows * cols);
    for (let r = 0; r < numRows; r++) {
      const column = first + (firstRow + r) * step;
      for (let c = 0; c < cols; c++) out[r * cols + c] = whole[c * storedCols + column]!;
    }
    return out;
  }

  /** Rows of `cols` values of a stored tensor, all of whose leading axes count as rows. */
  async #readStored(
    name: string,
    firstRow: number,
    numRows: number,
    cols: number,
    scratch: RowScratch,
  ): Promise<Float32Array> {
    const { file, info } = this.#find(name);
    const { shape, dtype } = info;
    const rowBytes = cols * dtypeBytes[dtype];
    const raw = scratch.raw(numRows * rowBytes);
    await this.#files.read(file, info.offset + firstRow * rowBytes, raw, name);
    const values = toFloat32(raw, dtype, scratch.values(numRows * cols));
    if (dtype === 'F8_E4M3') await this.#scale(name, file, shape, values, firstRow);
    const bad = firstNotFinite(values);
    if (bad === undefined) return values;
    const place = placeOf(bad + firstRow * cols, shape);
    throw new CheckpointError('not-finite', file, name, `the value at ${place} is ${values[bad]}: download it again`);
  }

  /** Multiplies FP8 weights by their blocks' scales, which are stored beside them as `<name>_scale_inv`. */
  async #scale(
    name: string,
    file: string,
    shape: readonly number[],
    values: Float32Array,
    firstRow: number,
  ): Promise<void> {
    const blockSize = this.config.fp8BlockSize;
    const [rows, columns] = shape;
    const wrong = (reason: CheckpointErrorReason, detail: string) => new CheckpointError(reason, file, name, detail);
    if (!blockSize) {
      throw wrong('wrong-dtype', 'is FP8, but config.json has no quantization_config with a weight_block_size');
    }
    if (rows === undefined || columns === undefined || shape.length !== 2) {
      throw wrong('wrong-shape', `is FP8 [${shape.join(', ')}]; only matrices are read`);
    }
    const scaleShape = [Math.ceil(rows / blockSize[0]), Math.ceil(columns / blockSize[1])];
    applyBlockScales(values, columns, await this.#scales(`${name}_scale_inv`, scaleShape), blockSize, firstRow);
  }

  /** Keeps the scales of recently read tensors, since a tensor that is read by rows needs them for each read. */
  async #scales(name: string, shape: readonly number[]): Promise<Float32Array> {
    let scales = this.#recentScales.get(name);
    if (!scales) {
      scales = await this.read(new TensorSpec(name, shape));
      if (this.#recentScales.size >= MAX_RECENT_SCALES) this.#recentScales.clear();
      this.#recentScales.set(name, scales);
    }
    return scales;
  }

  async readRaw(name: string): Promise<Uint8Array> {
    const { file, info } = this.#find(name);
    const raw = new Uint8Array(info.bytes);
    await this.#files.read(file, info.offset, raw, name);
    return raw;
  }

  close(): Promise<void> {
    return this.#files.close();
  }

  #find(name: string) {
    const found = this.#files.tensors.get(name);
    if (found) return found;
    throw new CheckpointError('missing-tensor', this.#files.listedIn, name, 'is not in the checkpoint');
  }
}

/** Every `step`-th row of values [(numRows − 1) · step + 1, cols], moved together in place. */
function everyRow(values: Float32Array, numRows: number, step: number, cols: number): Float32Array {
  for (let r = 1; r < numRows; r++) values.copyWithin(r * cols, r * step * cols, (r * step + 1) * cols);
  return values.subarray(0, numRows * cols);
}

/** The exponent of a float32, which is all ones in NaN and ∞ only. */
const EXPONENT_BITS = 0x7f80_0000;

/** The index of the first value that is NaN or ∞. */
export function firstNotFinite(values: Float32Array): number | undefined {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & EXPONENT_BITS) === EXPONENT_BITS) return i;
  return undefined;
}

/** Coordinates of a flat index: 7 in [2, 5] is "[1, 2]". */
export function placeOf(index: number, shape: readonly number[]): string {
  const place: number[] = [];
  let rest = index;
  for (const size of [...shape].reverse()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return `[${place.join(', ')}]`;
}
