export * from './error.ts';
export * from './types.ts';
export * from './dispatch.ts';
export * from './combine.ts';
export * from './refuse.ts';
export * from './peek.ts';
export { FRAME_MAGIC, FRAME_PREFIX_BYTES } from './layout.ts';
