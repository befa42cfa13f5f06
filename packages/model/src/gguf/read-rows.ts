import { CheckpointError } from '../errors.ts';
import { f16ToF32 } from '../f16.ts';
import { firstNotFinite, placeOf } from '../finite.ts';
import type { Int4Rows } from '../int4.ts';
import type { Mxfp4Rows } from '../mxfp4.ts';
import { readFully } from '../read-fully.ts';
import { RowScratch } from '../row-scratch.ts';
import type { GgufFiles } from './files.ts';
import type { Place } from './places.ts';

type HeadPlace = Extract<Place, { kind: 'heads' }>;
type LatentPlace = Extract<Place, { kind: 'latent' }>;

const Q4_0_BLOCK = 32;
const Q4_0_BYTES = 18;
const MXFP4_BLOCK = 32;
const MXFP4_BYTES = 17;
/** With a larger one the code of 6 is infinite in float32. */
const MAX_SCALE = 252;

/** Reads rows of stored tensors, as float32 or in MXFP4. */
export class TensorReader {
  readonly #files: GgufFiles;
  #closed = false;

  constructor(files: GgufFiles) {
    this.#files = files;
  }

  close(): void {
    this.#closed = true;
  }

  /** Fills `target` from a tensor's bytes at `offset`. */
  async bytes(name: string, offset: number, target: Uint8Array): Promise<void> {
    const { file, tensor } = this.#files.tensors.get(name)!;
    if (this.#closed) throw new CheckpointError('closed', file.name, name, 'cannot be read: the checkpoint was closed');
    if ((await readFully(file.handle, target, tensor.offset + offset)) === target.byteLength) return;
    throw new CheckpointError('changed', file.name, name, 'ended early: the file has shrunk since it was opened');
  }

  /** Rows of `cols` values, all axes of the stored tensor but the last counting as rows. */
  async rows(
    name: string,
    firstRow: number,
    numRows: number,
    cols: number,
    scratch: RowScratch,
  ): Promise<Float32Array> {
    const { file, tensor } = this.#files.tensors.get(name)!;
    const { decode, blockValues, blockBytes } = tensor.type;
    if (!decode)
      throw new CheckpointError('wrong-dtype', file.name, name, `has the type ${tensor.type.name}, which is not read`);
    const rowBytes = (cols / blockValues) * blockBytes;
    const raw = scratch.raw(numRows * rowBytes);
    await this.bytes(name, firstRow * rowBytes, raw);
    const values = scratch.values(numRows * cols);
    decode(raw, values);
    const bad = firstNotFinite(values);
    if (bad === undefined) return values;
    const place = placeOf(bad + firstRow * cols, tensor.shape);
    throw new CheckpointError(
      'not-finite',
      file.name,
      name,
      `the value at ${place} is ${values[bad]}: download it again`,
    );
  }

  /** Rows in Hugging Face's order, in which a head's first half of rows are the first ones of all rotated pairs. */
  async headRows(
    place: HeadPlace,
    firstRow: number,
    numRows: number,
    cols: number,
    scratch: RowScratch,
  ): Promise<Float32Array> {
    const { tensor, headDim } = place;
    const firstHead = Math.floor(firstRow / headDim);
    const heads = Math.ceil((firstRow + numRows) / headDim) - firstHead;
    const stored = await this.rows(tensor, firstHead * headDim, heads * headDim, cols, new RowScratch());
    const values = scratch.values(numRows * cols);
    for (let r = 0; r < numRows; r++) {
      const row = firstRow + r - firstHead * headDim;
      const [head, i] = [Math.floor(row / headDim), row % headDim];
      const half = headDim / 2;
      const from = head * headDim + (i < half ? 2 * i : 2 * (i - half) + 1);
      values.set(stored.subarray(from * cols, (from + 1) * cols), r * cols);
    }
    return values;
  }

  /** Rows of kv_b_proj, which llama.cpp stores as two tensors, that of keys transposed. */
  async latentRows(
    place: LatentPlace,
    firstRow: number,
    numRows: number,
    cols: number,
    scratch: RowScratch,
  ): Promise<Float32Array> {
    const { nope, v } = place;
    const perHead = nope + v;
    const values = scratch.values(numRows * cols);
    const [keyScratch, valueScratch] = [new RowScratch(), new RowScratch()];
    const end = firstRow + numRows;
    for (let head = Math.floor(firstRow / perHead); head * perHead < end; head++) {
      const keys = await this.rows(place.tensor, head * cols, cols, nope, keyScratch);
      const rest = await this.rows(place.values, head * v, v, cols, valueScratch);
      for (let i = 0; i < perHead; i++) {
        const r = head * perHead + i - firstRow;
        if (r < 0 || r >= numRows) continue;
        if (i >= nope) values.set(rest.subarray((i - nope) * cols, (i - nope + 1) * cols), r * cols);
        else for (let c = 0; c < cols; c++) values[r * cols + c] = keys[c * nope + i]!;
      }
    }
    return values;
  }

  /** Rows of a tensor in Q4_0, whose codes are 8 more. */
  async int4Rows(name: string, firstRow: number, numRows: number, cols: number): Promise<Int4Rows> {
    const blocksPerRow = cols / Q4_0_BLOCK;
    const raw = new Uint8Array(numRows * blocksPerRow * Q4_0_BYTES);
    await this.bytes(name, firstRow * blocksPerRow * Q4_0_BYTES, raw);
    const scales = new Float32Array(numRows * blocksPerRow);
    const codes = new Int8Array(numRows * cols);
    for (let block = 0; block < scales.length; block++) {
      const at = block * Q4_0_BYTES;
      scales[block] = f16ToF32(raw[at]! | (raw[at + 1]! << 8));
      for (let i = 0; i < Q4_0_BLOCK / 2; i++) {
        const byte = raw[at + 2 + i]!;
        codes[block * Q4_0_BLOCK + i] = (byte & 15) - 8;
        codes[block * Q4_0_BLOCK + Q4_0_BLOCK / 2 + i] = (byte >> 4) - 8;
      }
    }
    const bad = firstNotFinite(scales);
    if (bad === undefined) return { codes, scales };
    const { file, tensor } = this.#files.tensors.get(name)!;
    const place = placeOf((firstRow * blocksPerRow + bad) * Q4_0_BLOCK, tensor.shape);
    throw new CheckpointError(
      'not-finite',
      file.name,
      name,
      `the scale at ${place} is ${scales[bad]}: download it again`,
    );
  }

  /** Rows of a tensor in MXFP4, with its codes in the order of the columns instead of ggml's. */
  async mxfp4Rows(name: string, firstRow: number, numRows: number, cols: number): Promise<Mxfp4Rows> {
    const blocksPerRow = cols / MXFP4_BLOCK;
    const raw = new Uint8Array(numRows * blocksPerRow * MXFP4_BYTES);
    await this.bytes(name, firstRow * blocksPerRow * MXFP4_BYTES, raw);
    const scales = new Uint8Array(numRows * blocksPerRow);
    const codes = new Uint8Array(numRows * blocksPerRow * (MXFP4_BLOCK / 2));
    for (let block = 0; block < scales.length; block++) {
      const at = block * MXFP4_BYTES;
      const scale = raw[at]!;
      if (scale > MAX_SCALE) throw this.#bad(name, (firstRow * blocksPerRow + block) * MXFP4_BLOCK, scale);
      scales[block] = scale;
      // Byte i of ggml's block has the codes of columns i and i + 16.
      for (let i = 0; i < 16; i += 2) {
        const [even, odd] = [raw[at + 1 + i]!, raw[at + 2 + i]!];
        codes[block * 16 + i / 2] = (even & 15) | ((odd & 15) << 4);
        codes[block * 16 + 8 + i / 2] = (even >> 4) | (odd & 0xf0);
      }
    }
    return { codes, scales };
  }

  #bad(name: string, index: number, scale: number): CheckpointError {
    const { file, tensor } = this.#files.tensors.get(name)!;
    const detail = `the scale at ${placeOf(index, tensor.shape)} is 2^${scale - 127}, with which values are infinite`;
    return new CheckpointError('not-finite', file.name, name, `${detail}: download it again`);
  }
}
