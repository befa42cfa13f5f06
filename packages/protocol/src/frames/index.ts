export * from './error.ts';
export * from './types.ts';
export * from './dispatch.ts';
export * from './combine.ts';
export * from './refuse.ts';
export * from './cancel.ts';
export * from './peek.ts';
export * from './row-format.ts';
export { firstNotFiniteF16 } from './finite.ts';
export { BLOCK as ROW_BLOCK } from './layout.ts';
// Frames carry f16, and a peer may import this package but not the model's.
export { decodeF16, encodeF16 } from '@shoal/model';
