export { KvMemoryError, PagedCache, PagePool, PAGE_POSITIONS } from './kv-pages.ts';
export type { WasmEngine } from './wasm-engine.ts';
