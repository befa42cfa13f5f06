/** The exports of packages/kernels/wasm/assembly for experts. Addresses are byte offsets in the memory. */
export interface ExpertExports {
  runLap(lap: number): void;
  runLapTogether(lap: number, control: number, maySleep: boolean): void;
  stopThreads(control: number): void;
  repack(format: number, values: number, scales: number, rows: number, cols: number, out: number): void;
  sumOfSquares(matrix: number, format: number, rows: number, blocks: number, scratch: number): number;
  readBytes(start: number, bytes: number): number;
  CONTROL_BYTES: WebAssembly.Global;
}

export const PAGE_BYTES = 65_536;
/** 4 GiB, the range of 32-bit addresses. */
export const MAX_PAGES = 65_536;
/** The module's own constants are in the first page. */
export const FIRST_FREE_BYTE = PAGE_BYTES;
