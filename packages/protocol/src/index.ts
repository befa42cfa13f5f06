export * from './version.ts';
export * from './signalling.ts';
export * from './console.ts';
