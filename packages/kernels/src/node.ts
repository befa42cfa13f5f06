export { DEFAULT_KV_BYTES, openWasmEngine, type WasmEngineOptions } from './engine/node/open.ts';
