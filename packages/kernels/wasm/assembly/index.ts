// What the module exports: one file per operation. Built by packages/kernels/wasm/build.mjs into packages/kernels/dist.
export * from './memory';
export { gemm, decodeRow } from './engine/gemm';
export { prepareRow } from './engine/prepare';
export { clipRow, rmsNormRow, ropeRow, siluMulRow } from './engine/rows';
export { decodeHalves, encodeHalves } from './engine/cache';
export { attendBlock, closeState, openState } from './engine/attention';
export { runProgram } from './engine/program';
export { answerWish } from './engine/sampling';
export { expOf } from './engine/exp';
export { runLap } from './expert-ffn';
export { repack, sumOfSquares } from './expert-load';
export { CONTROL_BYTES, runLapTogether, serveLaps, stopThreads } from './expert-threads';
