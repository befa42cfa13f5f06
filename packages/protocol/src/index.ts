export * from './version.ts';
export * from './limits.ts';
export * from './signalling.ts';
export * from './control.ts';
export * from './console.ts';
export * from './frames/index.ts';
export * from './fixtures.ts';
export * from './trace.ts';
