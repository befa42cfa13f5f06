import type { ExpertNorms } from '@shoal/model';
import {
  alignUp,
  panelBytes,
  PANEL_COLS,
  shardLayout,
  type ExpertShape,
  type MatrixLayout,
  type MatrixName,
  type PanelFormat,
} from '@shoal/weights';
import { FORMAT_CODES } from '../dense/program.ts';
import type { ShardMemory } from './memory.ts';

/** Numbers of the formats in packages/kernels/wasm/assembly/dense/prepare.ts. */
export const PANEL_FORMAT_CODES: Readonly<Record<PanelFormat, number>> = { ...FORMAT_CODES, mxfp4: 4 };

/**
 * Byte offsets in a loaded expert's memory: of its matrices, in panels of four rows (weights' PANEL_BLOCK_BYTES), and then of
 * their biases. 0 for a gate matrix or a bias that the kind does not have: no bias begins there.
 */
export interface PanelLayout {
  matrices: Readonly<Record<MatrixName, number>>;
  biases: Readonly<Record<MatrixName, number>>;
  totalBytes: number;
}

export function panelLayout(shape: ExpertShape): PanelLayout {
  const { matrices, biases } = shardLayout(shape);
  let end = 0;
  const place = (bytes: number): number => {
    const offset = end;
    end += alignUp(bytes);
    return offset;
  };
  const none = { gate: 0, up: 0, down: 0 };
  const placed = matrices.map(({ name, rows, cols }) => [name, place(panelBytes(shape.quant, rows, cols))]);
  const placedBiases = biases.map(({ name, bytes }) => [name, place(bytes)]);
  return {
    matrices: { ...none, ...Object.fromEntries(placed) },
    biases: { ...none, ...Object.fromEntries(placedBiases) },
    totalBytes: end,
  };
}

/** Converts a packed shard at address `shard` to panels at address `expert`. */
export function repackShard({ exports, memory }: ShardMemory, shape: ExpertShape, shard: number, expert: number): void {
  const from = shardLayout(shape);
  const to = panelLayout(shape);
  const format = PANEL_FORMAT_CODES[shape.quant];
  for (const { name, valuesOffset, scalesOffset, rows, cols } of from.matrices) {
    exports.repack(format, shard + valuesOffset, shard + scalesOffset, rows, cols, expert + to.matrices[name]);
  }
  for (const { name, offset, bytes } of from.biases) {
    new Uint8Array(memory.buffer).copyWithin(expert + to.biases[name], shard + offset, shard + offset + bytes);
  }
}

/** The norms of a loaded expert. `scratch` has room for a row of floats in whole blocks. */
export function normsOf(
  { exports, memory }: ShardMemory,
  shape: ExpertShape,
  expert: number,
  scratch: number,
): ExpertNorms {
  const { matrices, biases } = shardLayout(shape);
  const at = panelLayout(shape);
  const format = PANEL_FORMAT_CODES[shape.quant];
  const none = { gate: 0, up: 0, down: 0 };
  const matrixNorm = ({ name, rows, cols }: MatrixLayout): [MatrixName, number] => {
    const address = expert + at.matrices[name];
    return [name, Math.sqrt(exports.sumOfSquares(address, format, rows, Math.ceil(cols / PANEL_COLS), scratch))];
  };
  const biasNorms = biases.map(({ name, rows }) => {
    const values = new Float32Array(memory.buffer, expert + at.biases[name], rows);
    return [name, Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))];
  });
  return {
    ...none,
    ...Object.fromEntries(matrices.map(matrixNorm)),
    biases: { ...none, ...Object.fromEntries(biasNorms) },
  };
}
