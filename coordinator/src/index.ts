export * from './coordinator.ts';
export * from './options.ts';
export * from './engine/contract.ts';
