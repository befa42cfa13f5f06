/** One of the modules that packages/kernels/wasm/build.mjs makes. */
export interface WasmVariant {
  /** Shared memory, and with it several threads. */
  threads: boolean;
  /** Relaxed SIMD: multiply-add in one rounding. */
  relaxed: boolean;
}

export const WASM_VARIANTS: readonly WasmVariant[] = [
  { threads: false, relaxed: false },
  { threads: false, relaxed: true },
  { threads: true, relaxed: false },
  { threads: true, relaxed: true },
];

export function variantFile({ threads, relaxed }: WasmVariant): string {
  return `shoal${threads ? '-threads' : ''}${relaxed ? '-relaxed' : ''}.wasm`;
}

/** Header; a type `() -> v128`; a function of it. */
const MODULE_START = [
  [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  [0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b],
  [0x03, 0x02, 0x01, 0x00],
].flat();
/** A module with one function of this body. */
const moduleOf = (...body: number[]): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(MODULE_START.concat([0x0a, body.length + 4, 0x01, body.length + 2, 0x00], body, [0x0b]));
/** i8x16.splat(0) */
const ZERO = [0x41, 0x00, 0xfd, 0x0f];
const SIMD_PROBE = moduleOf(...ZERO);
/** f32x4.relaxed_madd */
const RELAXED_PROBE = moduleOf(...ZERO, ...ZERO, ...ZERO, 0xfd, 0x85, 0x02);

/** Whether WebAssembly with SIMD is there at all. */
export function hasWasmSimd(): boolean {
  return typeof WebAssembly === 'object' && WebAssembly.validate(SIMD_PROBE);
}

/** The variants that this host can run, the plainest first. Probed: Node 20 has relaxed SIMD behind a flag only. */
export function runnableVariants(): WasmVariant[] {
  if (!hasWasmSimd()) return [];
  const relaxed = WebAssembly.validate(RELAXED_PROBE);
  const threads = typeof SharedArrayBuffer === 'function' && (globalThis.crossOriginIsolated ?? true);
  return WASM_VARIANTS.filter((variant) => (relaxed || !variant.relaxed) && (threads || !variant.threads));
}

/** The variant that makes the most of this host. */
export function bestVariant(): WasmVariant | undefined {
  return runnableVariants().at(-1);
}
