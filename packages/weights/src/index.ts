export * from './errors.ts';
export * from './layout.ts';
export * from './expert.ts';
export * from './manifest.ts';
export * from './dense/index.ts';
