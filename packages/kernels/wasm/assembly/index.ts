// What the module exports: one file per operation. Built by packages/kernels/wasm/build.mjs into packages/kernels/dist.
export * from './memory';
export { runProgram } from './engine/program';
export * from './expert-ffn';
export * from './expert-threads';
