import { panelBytes, PANEL_COLS, shardLayout, type ExpertShape, type MatrixName } from '@shoal/weights';
import type { ExpertExports } from './exports.ts';

/** As packages/kernels/wasm/assembly/engine/prepare.ts numbers them. */
export const FORMATS: Readonly<Record<ExpertShape['quant'], number>> = { f16: 1, q8: 2, q4: 3 };

/** Where an expert's matrices lie once loaded, in panels of four rows (weights' PANEL_BLOCK_BYTES). Bytes. */
export interface PanelLayout {
  gateOffset: number;
  upOffset: number;
  downOffset: number;
  totalBytes: number;
}

export function panelLayout({ hiddenSize: D, moeIntermediateSize: F, quant }: ExpertShape): PanelLayout {
  const align = (bytes: number): number => Math.ceil(bytes / 64) * 64;
  const upOffset = align(panelBytes(quant, F, D));
  const downOffset = 2 * upOffset;
  return { gateOffset: 0, upOffset, downOffset, totalBytes: downOffset + align(panelBytes(quant, D, F)) };
}

/** A shard as it came, at `shard`, to panels at `expert`. */
export function repackShard(exports: ExpertExports, shape: ExpertShape, shard: number, expert: number): void {
  const from = shardLayout(shape);
  const to = panelLayout(shape);
  const matrix = (name: MatrixName, offset: number): void => {
    const { valuesOffset, scalesOffset, rows, cols } = from[name];
    exports.repack(FORMATS[shape.quant], shard + valuesOffset, shard + scalesOffset, rows, cols, expert + offset);
  };
  matrix('gate', to.gateOffset);
  matrix('up', to.upOffset);
  matrix('down', to.downOffset);
}

/** The product of the Frobenius norms of the matrices of a loaded expert. `scratch` holds a row of floats in whole blocks. */
export function normProductOf(exports: ExpertExports, shape: ExpertShape, expert: number, scratch: number): number {
  const { hiddenSize: D, moeIntermediateSize: F, quant } = shape;
  const { gateOffset, upOffset, downOffset } = panelLayout(shape);
  const norm = (offset: number, rows: number, cols: number): number =>
    Math.sqrt(exports.sumOfSquares(expert + offset, FORMATS[quant], rows, Math.ceil(cols / PANEL_COLS), scratch));
  return norm(gateOffset, F, D) * norm(upOffset, F, D) * norm(downOffset, D, F);
}
