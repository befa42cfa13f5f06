/** What packages/kernels/wasm/assembly exports of use here. Addresses are byte offsets in the memory. */
export interface ExpertExports {
  runLap(lap: number): void;
  runLapTogether(lap: number, control: number, maySleep: boolean): void;
  stopThreads(control: number): void;
  repack(format: number, values: number, scales: number, rows: number, cols: number, out: number): void;
  sumOfSquares(matrix: number, format: number, rows: number, blocks: number, scratch: number): number;
  readBytes(start: number, bytes: number): number;
  CONTROL_BYTES: WebAssembly.Global;
}

/** An instance on a memory of its own. */
export interface WasmMachine {
  memory: WebAssembly.Memory;
  exports: ExpertExports;
}

export const PAGE_BYTES = 65_536;
/** 4 GiB, all that 32-bit addresses reach. */
export const MAX_PAGES = 65_536;
