import { basename } from 'node:path';
import type { Checkpoint } from '../checkpoint.ts';
import { parseModelConfig } from '../config.ts';
import { CheckpointError } from '../errors.ts';
import { type ModelConfig, withoutMtp } from '../model-config.ts';
import type { Int4Rows } from '../int4.ts';
import type { Mxfp4Rows } from '../mxfp4.ts';
import { RowScratch } from '../row-scratch.ts';
import type { TensorSpec } from '../tensors.ts';
import { type Architecture, architectureOf } from './architectures.ts';
import { modelConfigJson } from './config.ts';
import { type GgufFiles, openGgufFiles } from './files.ts';
import { Metadata } from './metadata.ts';
import { TensorReader } from './read-rows.ts';
import { type Place, Places } from './places.ts';

/** Opens a GGUF file, or the first of several parts, as the checkpoint of a model. */
export async function openGguf(path: string): Promise<Checkpoint> {
  const files = await openGgufFiles(path);
  try {
    const metadata = new Metadata(files.metadata, basename(path));
    const where = `${path} (config.json as made from its metadata)`;
    const config = withMtpAsStored(parseModelConfig(await modelConfigJson(metadata, files), where), files);
    return new GgufCheckpoint(path, config, files, architectureOf(metadata));
  } catch (error) {
    await files.close();
    throw error;
  }
}

/** Files without the MTP module's tensors are of models without one, whatever their metadata says. */
function withMtpAsStored(config: ModelConfig, { tensors }: GgufFiles): ModelConfig {
  const isStored = tensors.has(`blk.${config.numHiddenLayers}.nextn.eh_proj.weight`);
  return config.numNextnPredictLayers === 0 || isStored ? config : withoutMtp(config);
}

class GgufCheckpoint implements Checkpoint {
  readonly dir: string;
  readonly config: ModelConfig;
  readonly tensors: readonly string[];
  readonly #files: GgufFiles;
  readonly #places: Places;
  readonly #reader: TensorReader;

  constructor(path: string, config: ModelConfig, files: GgufFiles, architecture: Architecture) {
    this.dir = path;
    this.config = config;
    this.tensors = [...files.tensors.keys()];
    this.#files = files;
    this.#places = new Places(config, files, architecture);
    this.#reader = new TensorReader(files);
  }

  check(): void {
    this.#places.check();
  }

  has(spec: TensorSpec): boolean {
    return this.#places.find(spec) !== undefined;
  }

  info(name: string): { dtype: string; shape: readonly number[]; bytes: number } {
    const { tensor } = this.#stored(name);
    return { dtype: tensor.type.name, shape: tensor.shape, bytes: tensor.bytes };
  }

  bytesOf(spec: TensorSpec): number {
    const { blockValues, blockBytes } = this.#stored(this.#places.get(spec).tensor).tensor.type;
    return (spec.shape.reduce((a, b) => a * b, 1) / blockValues) * blockBytes;
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
    const place = this.#places.get(spec);
    // A vector is one row of the file, whose blocks cannot be read in part.
    if (spec.shape.length === 1)
      return (await this.#rows(place, spec, 0, 1, scratch)).subarray(firstRow, firstRow + numRows);
    return this.#rows(place, spec, firstRow, numRows, scratch);
  }

  #rows(place: Place, spec: TensorSpec, firstRow: number, numRows: number, scratch: RowScratch): Promise<Float32Array> {
    const cols = spec.shape.at(-1)!;
    switch (place.kind) {
      case 'rows':
        return this.#reader.rows(place.tensor, place.firstRow + firstRow, numRows, cols, scratch);
      case 'heads':
        return this.#reader.headRows(place, firstRow, numRows, cols, scratch);
      case 'latent':
        return this.#reader.latentRows(place, firstRow, numRows, cols, scratch);
    }
  }

  async mxfp4Rows(spec: TensorSpec, firstRow: number, numRows: number): Promise<Mxfp4Rows | undefined> {
    const place = this.#wholeRows(spec, 'MXFP4');
    return place && this.#reader.mxfp4Rows(place.tensor, place.firstRow + firstRow, numRows, spec.shape[1]!);
  }

  async int4Rows(spec: TensorSpec, firstRow: number, numRows: number): Promise<Int4Rows | undefined> {
    const place = this.#wholeRows(spec, 'Q4_0');
    return place && this.#reader.int4Rows(place.tensor, place.firstRow + firstRow, numRows, spec.shape[1]!);
  }

  /** Where the rows of a matrix are in the file, if they are there as they are needed and in this type. */
  #wholeRows(spec: TensorSpec, type: string): Extract<Place, { kind: 'rows' }> | undefined {
    const place = this.#places.get(spec);
    const isType = this.#stored(place.tensor).tensor.type.name === type;
    return place.kind === 'rows' && isType && spec.shape.length === 2 ? place : undefined;
  }

  async readRaw(name: string): Promise<Uint8Array> {
    const { tensor } = this.#stored(name);
    const raw = new Uint8Array(tensor.bytes);
    await this.#reader.bytes(name, 0, raw);
    return raw;
  }

  close(): Promise<void> {
    this.#reader.close();
    return this.#files.close();
  }

  #stored(name: string) {
    const stored = this.#files.tensors.get(name);
    if (stored) return stored;
    throw new CheckpointError('missing-tensor', this.dir, name, 'is not in the file');
  }
}
