import { CheckpointError, type CheckpointErrorReason } from '../errors.ts';
import type { Int4Rows } from '../int4.ts';
import type { Mxfp4Rows } from '../mxfp4.ts';
import type { RowScratch } from '../row-scratch.ts';
import type { TensorDtype } from '../safetensors.ts';

/** What a checkpoint has to store for a tensor of the model, before it is known in which format it does. */
export interface StoredMatrix {
  /** As the family says: that of a plain tensor. */
  name: string;
  /** Of the stored matrix, of which a tensor of the model may be some rows. A vector is a matrix of one column. */
  rows: number;
  cols: number;
  isVector: boolean;
  /** Whether the family's plain form is [cols, rows]. */
  transposed: boolean;
}

/** A part that a format requires: one of these types, one of these shapes (errors name the first). */
export interface PartSpec {
  name: string;
  dtypes: readonly TensorDtype[];
  shapes: readonly (readonly number[])[];
}

/** A stored tensor, or an entry of a stack of them, of which a matrix consists. */
export interface Part {
  name: string;
  file: string;
  dtype: TensorDtype;
  /** Without the axis of the stack. */
  shape: readonly number[];
  /** Byte offset in the file. */
  offset: number;
  bytes: number;
}

/** What formats ask of the table of stored tensors. */
export interface PartFinder {
  /** The type in which a tensor is stored; undefined if it is not. */
  dtypeOf(name: string): TensorDtype | undefined;
  /** Throws CheckpointError `missing-tensor`, `wrong-dtype` or `wrong-shape`. */
  find(spec: PartSpec): Part;
}

export interface PartReader {
  /** Fills `target` from a part's bytes at `offset`. */
  bytes(part: Part, offset: number, target: Uint8Array): Promise<void>;
  /**
   * `count` values from value `first` on of a part in BF16, F16, F32 or F8_E4M3, in the scratch's memory if one is given.
   * Throws CheckpointError `not-finite`.
   */
  floats(part: Part, first: number, count: number, scratch?: RowScratch): Promise<Float32Array>;
}

/** A matrix in one format. Its rows are [numRows, cols]. */
export interface Encoding {
  /** Whether these are numbers as they are, in BF16, F16 or F32. */
  readonly isPlain: boolean;
  /** All that the matrix consists of. */
  readonly parts: readonly Part[];
  /** As float32, computed in float32. In the scratch's memory. Throws CheckpointError `not-finite`, `bad-scale` or `bad-order`. */
  rows(reader: PartReader, firstRow: number, numRows: number, scratch: RowScratch): Promise<Float32Array>;
  /** As stored, where that is MXFP4. */
  mxfp4Rows?(reader: PartReader, firstRow: number, numRows: number): Promise<Mxfp4Rows>;
  /** As stored, where that is 4-bit integers whose groups hold whole blocks of 32 columns; undefined where these rows don't. */
  int4Rows?(reader: PartReader, firstRow: number, numRows: number, scratch: RowScratch): Promise<Int4Rows | undefined>;
}

export function partError(part: Part, reason: CheckpointErrorReason, detail: string): CheckpointError {
  return new CheckpointError(reason, part.file, part.name, detail);
}

/** The name of what lies beside a matrix in another layout: of `x.weight` with "qweight" that is `x.qweight`. */
export function besideWeight(name: string, suffix: string): string {
  return `${name.replace(/\.weight$/, '')}.${suffix}`;
}
