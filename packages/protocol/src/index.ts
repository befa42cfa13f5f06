export * from './version.ts';
export * from './limits.ts';
export * from './signalling.ts';
export * from './console.ts';
export * from './frames/index.ts';
