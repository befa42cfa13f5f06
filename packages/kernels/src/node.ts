export { WasmEngine } from './dense/wasm-engine.ts';
export { openWasmEngine } from './dense/node/open.ts';
export type { WasmExpertBackend } from './wasm/backend.ts';
export { runnableVariants, variantFile, WASM_VARIANTS } from './wasm/features.ts';
export { compileWasm, createWasmBackend } from './wasm/node.ts';
