/** One of the modules that packages/kernels/wasm/build.mjs builds. */
export interface WasmVariant {
  /** Shared memory, which several threads need. */
  threads: boolean;
  /** Relaxed SIMD, with a multiply-add that rounds once. */
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

/** A module's header, a type `() -> v128` and a function of that type. */
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

/** Whether the host has WebAssembly with SIMD. */
export function hasWasmSimd(): boolean {
  return typeof WebAssembly === 'object' && WebAssembly.validate(SIMD_PROBE);
}

/** The variants that this host can run, the simplest first. They are probed, since Node 20 has relaxed SIMD only behind a flag. */
export function runnableVariants(): WasmVariant[] {
  if (!hasWasmSimd()) return [];
  const relaxed = WebAssembly.validate(RELAXED_PROBE);
  const threads = typeof SharedArrayBuffer === 'function' && (globalThis.crossOriginIsolated ?? true);
  return WASM_VARIANTS.filter((variant) => (relaxed || !variant.relaxed) && (threads || !variant.threads));
}

/** The fastest variant that this host can run. */
export function bestVariant(): WasmVariant | undefined {
  return runnableVariants().at(-1);
}
