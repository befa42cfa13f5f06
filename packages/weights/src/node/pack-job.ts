import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { expertTensors, type TensorSpec } from '@shoal/model';
import { type Checkpoint, RowScratch } from '@shoal/model/node';
import { denseFile } from '../dense/header.ts';
import type { DenseEntry } from '../dense/layout.ts';
import { packDenseEntry } from '../dense/pack.ts';
import { type DenseFormat, unpackPanels } from '../dense/panels.ts';
import { WeightsError } from '../errors.ts';
import { packExpertBias, packExpertRows, unpackExpertRows } from '../expert.ts';
import { packQ4Codes } from '../format-q4-codes.ts';
import { type BiasLayout, type ExpertShape, type MatrixLayout, shardLayout, type ShardLayout } from '../layout.ts';
import { asWriteError, SHARD_DIR, sha256, writeWhole } from './files.ts';
import type { CheckpointPlace, PackJob } from './jobs.ts';
import { ErrorSums, kindOf, type SquaredError } from './squared-error.ts';

export interface JobResult {
  sha256: string;
  /** With `measure`: the error of packing by tensor kind. */
  errors?: SquaredError[];
}

/** The settings that all jobs of a run share. */
export interface PackTask {
  place: CheckpointPlace;
  outDir: string;
  shape: ExpertShape;
  dense: DenseFormat;
  /** Whether to compare packed weights with their source. */
  measure: boolean;
  /** The file in `outDir` that dense tensors are written to, which has its full size already. */
  denseFile: string;
}

/** Weights read at a time: 4 MiB as float32, which stay in a core's cache while they are packed. */
const TILE_VALUES = 1024 * 1024;
const ROW_ALIGN = 4;

/** Does jobs one after another in its own memory. Two packers in one thread overlap input and output with computing. */
export class Packer {
  readonly #task: PackTask;
  readonly #checkpoint: Checkpoint;
  readonly #layout: ShardLayout;
  readonly #scratch = new RowScratch();
  readonly #shard: Uint8Array;
  readonly #dense: ReadonlyMap<string, DenseEntry>;

  constructor(task: PackTask, checkpoint: Checkpoint) {
    this.#task = task;
    this.#checkpoint = checkpoint;
    this.#layout = shardLayout(task.shape);
    this.#shard = new Uint8Array(this.#layout.totalBytes);
    const { layout } = denseFile(checkpoint.config, task.dense);
    this.#dense = new Map(layout.segments.flatMap(({ entries }) => entries.map((entry) => [entry.name, entry])));
  }

  /** Throws WeightsError (`bad-weight`, `disk-full`) or the checkpoint's own error, naming the tensor. */
  run(job: PackJob): Promise<JobResult> {
    return job.kind === 'expert'
      ? this.#packExpert(job.layer, job.expert)
      : this.#packDense(this.#dense.get(job.name)!);
  }

  async #packExpert(layer: number, expert: number): Promise<JobResult> {
    const sums = new ErrorSums(this.#task.measure);
    const specs = expertTensors(this.#checkpoint.config, layer, expert);
    this.#shard.fill(0);
    try {
      for (const matrix of this.#layout.matrices) await this.#packMatrix(matrix, specs[matrix.name]!, sums);
      for (const bias of this.#layout.biases) await this.#packBias(bias, specs.biases![bias.name]!, sums);
    } catch (cause) {
      if (!(cause instanceof WeightsError)) throw cause;
      const where = `${this.#checkpoint.dir}: layer ${layer}, expert ${expert}`;
      throw new WeightsError(cause.reason, `${where}: ${cause.message}`, { cause });
    }
    const hash = sha256(this.#shard);
    await writeWhole(join(this.#task.outDir, SHARD_DIR, hash), this.#shard);
    return { sha256: hash, ...sums.result() };
  }

  async #packMatrix(matrix: MatrixLayout, spec: TensorSpec, sums: ErrorSums): Promise<void> {
    const { quant } = this.#task.shape;
    const step = Math.max(ROW_ALIGN, Math.floor(TILE_VALUES / matrix.cols / ROW_ALIGN) * ROW_ALIGN);
    for (let row = 0; row < matrix.rows; row += step) {
      const numRows = Math.min(step, matrix.rows - row);
      const isPacked = await this.#packCodes(matrix, spec, row, numRows);
      if (isPacked && !sums.wanted) continue;
      const values = await this.#checkpoint.readRows(spec, row, numRows, this.#scratch);
      if (!isPacked) packExpertRows(quant, matrix, values, this.#shard, row);
      if (sums.wanted) sums.add(kindOf(spec.name), values, unpackExpertRows(quant, matrix, this.#shard, row, numRows));
    }
  }

  /** Takes over the codes of rows that are stored in the format of the shard, without rounding them again; false where they aren't. */
  async #packCodes(matrix: MatrixLayout, spec: TensorSpec, row: number, numRows: number): Promise<boolean> {
    const { quant } = this.#task.shape;
    if (quant === 'mxfp4') {
      const rows = await this.#checkpoint.mxfp4Rows?.(spec, row, numRows);
      if (rows) packExpertRows(quant, matrix, rows, this.#shard, row);
      return rows !== undefined;
    }
    const codes = quant === 'q4' ? await this.#checkpoint.int4Rows?.(spec, row, numRows, this.#scratch) : undefined;
    return codes !== undefined && packQ4Codes(matrix, codes, this.#shard, row);
  }

  async #packBias(bias: BiasLayout, spec: TensorSpec, sums: ErrorSums): Promise<void> {
    const values = await this.#checkpoint.read(spec);
    packExpertBias(bias, values, this.#shard);
    if (sums.wanted) sums.add(kindOf(spec.name), values, values);
  }

  async #packDense(entry: DenseEntry): Promise<JobResult> {
    const path = join(this.#task.outDir, this.#task.denseFile);
    try {
      const file = await open(path, 'r+');
      try {
        return await this.#packDenseInto(entry, file);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw asWriteError(error, path);
    }
  }

  async #packDenseInto(entry: DenseEntry, file: FileHandle): Promise<JobResult> {
    const { config } = this.#checkpoint;
    const { tensor } = entry.source;
    const sums = new ErrorSums(this.#task.measure);
    const hash = createHash('sha256');
    let source = new Float32Array(0) as Float32Array;
    let at = entry.offset;
    const readRows = async (start: number, count: number): Promise<Float32Array> => {
      source = await this.#checkpoint.readRows(tensor, start, count, this.#scratch);
      return source;
    };
    await packDenseEntry(config, entry, readRows, async (bytes) => {
      hash.update(bytes);
      await writeAt(file, bytes, at);
      at += bytes.byteLength;
      if (sums.wanted) sums.add(kindOf(tensor.name), source, unpackedEntry(entry, bytes, source.length));
    });
    return { sha256: hash.digest('hex'), ...sums.result() };
  }
}

/** Consecutive bytes of an entry as values in the source's order. */
function unpackedEntry(entry: DenseEntry, bytes: Uint8Array, numValues: number): Float32Array {
  const { kind, format, cols, source } = entry;
  if (kind === 'vector') return new Float32Array(bytes.buffer, bytes.byteOffset, numValues);
  const values = unpackPanels(format, bytes, numValues / cols, cols);
  if (source.part !== 'w-uk-t') return values;
  const rows = numValues / cols;
  return values.map((_, i) => values[(i % rows) * cols + Math.floor(i / rows)]!);
}

async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, position + done);
    done += bytesWritten;
  }
}
