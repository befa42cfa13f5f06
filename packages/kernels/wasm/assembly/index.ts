// The module's exports. Built by packages/kernels/wasm/build.mjs into packages/kernels/dist.
export { readBytes } from './memory';
export { gemm, decodeRow } from './dense/gemm';
export { prepareRow } from './dense/prepare';
export { clipRow, rmsNormRow, ropeRow, siluMulRow } from './dense/rows';
export { decodeHalves, decodePart, encodeHalves, encodePart } from './dense/cache';
export { attendBlock, closeState, openState } from './dense/attention';
export { runProgram } from './dense/program';
export { answerQuery } from './dense/sampling';
export { expOf } from './dense/exp';
export { runLap } from './expert-ffn';
export { repack, sumOfSquares } from './expert-load';
export { CONTROL_BYTES, runLapTogether, serveLaps, stopThreads } from './expert-threads';
