import { alignUp, panelBytes, PANEL_COLS, shardLayout, type ExpertShape, type MatrixName } from '@shoal/weights';
import { FORMAT_CODES } from '../dense/program.ts';
import type { ExpertExports } from './exports.ts';

/** Byte offsets of a loaded expert's matrices, in panels of four rows (weights' PANEL_BLOCK_BYTES). */
export interface PanelLayout {
  gateOffset: number;
  upOffset: number;
  downOffset: number;
  totalBytes: number;
}

export function panelLayout({ hiddenSize: D, moeIntermediateSize: F, quant }: ExpertShape): PanelLayout {
  const upOffset = alignUp(panelBytes(quant, F, D));
  const downOffset = 2 * upOffset;
  return { gateOffset: 0, upOffset, downOffset, totalBytes: downOffset + alignUp(panelBytes(quant, D, F)) };
}

/** Converts a packed shard at address `shard` to panels at address `expert`. */
export function repackShard(exports: ExpertExports, shape: ExpertShape, shard: number, expert: number): void {
  const from = shardLayout(shape);
  const to = panelLayout(shape);
  const matrix = (name: MatrixName, offset: number): void => {
    const { valuesOffset, scalesOffset, rows, cols } = from[name];
    exports.repack(FORMAT_CODES[shape.quant], shard + valuesOffset, shard + scalesOffset, rows, cols, expert + offset);
  };
  matrix('gate', to.gateOffset);
  matrix('up', to.upOffset);
  matrix('down', to.downOffset);
}

/** The product of the Frobenius norms of a loaded expert's matrices. `scratch` has room for a row of floats in whole blocks. */
export function normProductOf(exports: ExpertExports, shape: ExpertShape, expert: number, scratch: number): number {
  const { hiddenSize: D, moeIntermediateSize: F, quant } = shape;
  const { gateOffset, upOffset, downOffset } = panelLayout(shape);
  const norm = (offset: number, rows: number, cols: number): number =>
    Math.sqrt(exports.sumOfSquares(expert + offset, FORMAT_CODES[quant], rows, Math.ceil(cols / PANEL_COLS), scratch));
  return norm(gateOffset, F, D) * norm(upOffset, F, D) * norm(downOffset, D, F);
}
