import { join } from 'node:path';
import { allTensors, checkTensors } from './check-tensors.ts';
import { CheckpointError } from './errors.ts';
import { familyOf } from './families/index.ts';
import type { Int4Rows } from './int4.ts';
import { withoutMtp, type ModelConfig } from './model-config.ts';
import type { Mxfp4Rows } from './mxfp4.ts';
import { besideWeight, type Encoding, partError, type PartReader } from './quantised/encoding.ts';
import { PlainModules } from './quantised/plain-modules.ts';
import { resolveEncoding } from './quantised/resolve.ts';
import { storedPlace, type StoredPlace } from './quantised/stored-matrix.ts';
import { partReader, StoredParts } from './quantised/stored-parts.ts';
import { readModelConfig } from './read-model-config.ts';
import { RowScratch } from './row-scratch.ts';
import type { TensorInfo } from './safetensors.ts';
import { TensorSpec } from './tensors.ts';
import { type OpenWeightFile, openWeightFiles, type StoredTensor, type WeightFiles } from './weight-files.ts';

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
  /** The rows as 4-bit integers with a scale for 32 columns; undefined where the tensor is stored otherwise. */
  int4Rows?(spec: TensorSpec, firstRow: number, numRows: number, scratch?: RowScratch): Promise<Int4Rows | undefined>;
  /** A stored tensor's bytes, little-endian. */
  readRaw(name: string): Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * Opens a Hugging Face model directory: `config.json` with `model.safetensors` or `model.safetensors.index.json`. With `openFile`
 * the weights may be elsewhere.
 */
export async function openDirectory(dir: string, openFile?: OpenWeightFile): Promise<SafetensorsCheckpoint> {
  const config = await readModelConfig(join(dir, 'config.json'));
  const files = await openWeightFiles(dir, openFile);
  return checkpointOf(dir, config, files);
}

/** The checkpoint of a config and open weight files, which it closes. */
export function checkpointOf(dir: string, config: ModelConfig, files: WeightFiles): SafetensorsCheckpoint {
  return new SafetensorsCheckpoint(dir, withMtpAsStored(config, files), files);
}

/**
 * Tools that rewrite a DeepSeek-V3 checkpoint drop its MTP module but leave `num_nextn_predict_layers` as it was. The module is
 * not part of the main model, so it may be absent altogether, but not in part.
 */
function withMtpAsStored(config: ModelConfig, { tensors }: WeightFiles): ModelConfig {
  const { name: prefix } = familyOf(config.modelType).storedAt(`model.layers.${config.numHiddenLayers}.`, config);
  if (config.numNextnPredictLayers === 0 || [...tensors.keys()].some((name) => name.startsWith(prefix))) return config;
  return withoutMtp(config);
}

export class SafetensorsCheckpoint implements Checkpoint {
  readonly dir: string;
  readonly config: ModelConfig;
  readonly tensors: readonly string[];
  readonly #files: WeightFiles;
  readonly #reader: PartReader;

  constructor(dir: string, config: ModelConfig, files: WeightFiles) {
    this.dir = dir;
    this.config = config;
    this.tensors = [...files.tensors.keys()];
    this.#files = files;
    this.#reader = partReader(files);
  }

  /** As the interface says; of these tensors only, if they are given. */
  check(specs: readonly TensorSpec[] = allTensors(this.config)): void {
    const { dir, tensors, config } = this;
    const plainModules = new PlainModules(config.quantisation?.plainModules ?? []);
    const namesOf = (spec: TensorSpec): string[] => {
      const { encoding, matrix } = this.#find(spec);
      const part = encoding.parts[0]!;
      const module = matrix.name.replace(/\.weight$/, '');
      if (!encoding.isPlain && plainModules.has(module)) {
        throw partError(part, 'contradiction', `is quantised, but quantization_config says that ${module} is not`);
      }
      return encoding.parts.map(({ name }) => name);
    };
    checkTensors(config, specs, { dir, tensors, namesOf });
  }

  has({ stored }: TensorSpec): boolean {
    return this.#files.tensors.has(stored.name);
  }

  info(name: string): TensorInfo {
    return this.#stored(name).info;
  }

  /** The stored tensors that reading a tensor takes: of a stack the whole, though one entry is read. */
  storedTensorsOf(spec: TensorSpec): StoredTensor[] {
    return this.#find(spec).encoding.parts.map(({ name }) => this.#stored(name));
  }

  bytesOf(spec: TensorSpec): number {
    const { encoding, matrix } = this.#find(spec);
    const bytes = encoding.parts.reduce((sum, part) => sum + part.bytes, 0);
    return Math.round((bytes * (spec.shape[0] ?? 1)) / matrix.rows);
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
    const { encoding, matrix, first, step } = this.#find(spec);
    const span = (numRows - 1) * step + 1;
    const read = await encoding.rows(this.#reader, first + firstRow * step, span, scratch);
    return everyRow(read, numRows, step, matrix.cols);
  }

  async mxfp4Rows(spec: TensorSpec, firstRow: number, numRows: number): Promise<Mxfp4Rows | undefined> {
    const { encoding, first, step } = this.#find(spec);
    const span = (numRows - 1) * step + 1;
    const read = await encoding.mxfp4Rows?.(this.#reader, first + firstRow * step, span);
    return read && codedRows(read, numRows, step);
  }

  async int4Rows(
    spec: TensorSpec,
    firstRow: number,
    numRows: number,
    scratch = new RowScratch(),
  ): Promise<Int4Rows | undefined> {
    const { encoding, first, step } = this.#find(spec);
    const span = (numRows - 1) * step + 1;
    const read = await encoding.int4Rows?.(this.#reader, first + firstRow * step, span, scratch);
    return read && codedRows(read, numRows, step);
  }

  async readRaw(name: string): Promise<Uint8Array> {
    const { file, info } = this.#stored(name);
    const raw = new Uint8Array(info.bytes);
    await this.#files.read(file, info.offset, raw, name);
    return raw;
  }

  close(): Promise<void> {
    return this.#files.close();
  }

  #find(spec: TensorSpec): StoredPlace & { encoding: Encoding } {
    const { config } = this;
    const place = storedPlace(this.#isUnstacked(spec) ? unstacked(spec) : spec, config.nRoutedExperts);
    const finder = new StoredParts(this.#files, place.stack);
    return { ...place, encoding: resolveEncoding(place.matrix, config.quantisation, finder) };
  }

  /** Tools that quantise take stacks of experts apart, into linear layers with names as in other families. */
  #isUnstacked(spec: TensorSpec): boolean {
    if (spec.stored.index === undefined || !this.config.quantisation) return false;
    const { name } = unstacked(spec).stored;
    const stored = [name, `${name}_packed`, besideWeight(name, 'qweight')];
    return stored.some((one) => this.#files.tensors.has(one));
  }

  #stored(name: string): StoredTensor {
    const found = this.#files.tensors.get(name);
    if (found) return found;
    throw new CheckpointError('missing-tensor', this.#files.listedIn, name, 'is not in the checkpoint');
  }
}

/** The tensor in a checkpoint that has a layer for each expert, and one for gate and up each: under its canonical last names. */
function unstacked(spec: TensorSpec): TensorSpec {
  const before = spec.stored.name.replace(/\.experts\..*$/, '');
  const after = spec.name.replace(/^.*\.experts\./, '');
  return new TensorSpec(spec.name, spec.shape, { name: `${before}.experts.${after}` });
}

/** Every `step`-th row of codes and of their scales. */
function codedRows<C extends Uint8Array | Int8Array, S extends Uint8Array | Float32Array>(
  { codes, scales }: { codes: C; scales: S },
  numRows: number,
  step: number,
): { codes: C; scales: S } {
  const span = (numRows - 1) * step + 1;
  return {
    codes: everyRow(codes, numRows, step, codes.length / span),
    scales: everyRow(scales, numRows, step, scales.length / span),
  };
}

/** Every `step`-th row of values [(numRows − 1) · step + 1, cols], moved together in place. */
function everyRow<T extends Float32Array | Uint8Array | Int8Array>(
  values: T,
  numRows: number,
  step: number,
  cols: number,
): T {
  if (step === 1) return values;
  for (let r = 1; r < numRows; r++) values.copyWithin(r * cols, r * step * cols, (r * step + 1) * cols);
  return values.subarray(0, numRows * cols) as T;
}
