export { DEFAULT_KV_BYTES, openWasmEngine, type WasmEngineOptions } from './dense/node/open.ts';
export { compileWasm, createWasmBackend } from './wasm/node.ts';
export type { WasmExpertBackend } from './wasm/backend.ts';
export { runnableVariants, variantFile, WASM_VARIANTS, type WasmVariant } from './wasm/features.ts';
