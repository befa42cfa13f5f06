export * from './coordinator.ts';
export * from './core.ts';
export * from './config.ts';
export * from './scheduler/generation.ts';
