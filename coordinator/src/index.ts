export * from './coordinator.ts';
export * from './core.ts';
export * from './options.ts';
export * from './engine/contract.ts';
