/** How the weights of a checkpoint in safetensors are quantised, as its config says. Each file of this folder reads one kind. */
export type WeightFormat =
  /** float8_e4m3fn with a scale for a whole tensor, each row, or each block. */
  | { kind: 'fp8'; scales: 'tensor' | 'row' | Fp8Block }
  /** compressed-tensors' integers in 32-bit words; one scale for `groupSize` columns of a row, or for a whole row. */
  | { kind: 'packed-int'; bits: 4 | 8; groupSize: number | null; symmetric: boolean; reordered: boolean }
  /** compressed-tensors' int8 in bytes. */
  | { kind: 'int8'; scales: 'tensor' | 'row' | number; symmetric: boolean }
  /** FP4 with an FP8 scale for 16 columns and another for the tensor: modelopt multiplies by it, compressed-tensors divides. */
  | { kind: 'nvfp4'; globalScale: 'multiplies' | 'divides' }
  /** FP4 with a power of two for 32 columns, as gpt-oss's `_blocks`, compressed-tensors' `weight_packed` or modelopt's `weight`. */
  | { kind: 'mxfp4'; stored: 'blocks' | 'packed' | 'weight' }
  /** GPTQ's integers; `zeroOffset` is what its stored zero points lack. */
  | { kind: 'gptq'; bits: 2 | 4 | 8; groupSize: number | null; zeroOffset: 0 | 1; reordered: boolean }
  /** AWQ's 4-bit integers (the layout "gemm"). */
  | { kind: 'awq'; groupSize: number | null };

/** Rows and columns that share a scale; those at the right and bottom edge may be smaller. */
export type Fp8Block = readonly [rows: number, columns: number];

export interface Quantisation {
  /** As errors name it: "GPTQ". */
  method: string;
  /** Those that tensors of the checkpoint may have; which of them a tensor has follows from what is stored. */
  formats: readonly WeightFormat[];
  /** Modules that are said to be stored plain: names, names with `*`, or "re:" with a regular expression. */
  plainModules: readonly string[];
}
