export { urlOf } from './base/networks.ts';
export { UsageError } from './base/usage-error.ts';
export { type Config, defaultConfig, parseConfig, ROOT_DIR } from './config.ts';
export { type Coordinator, startCoordinator } from './coordinator.ts';
export { type Core, type CoreHooks, createCore } from './core.ts';
export type { GenerationEvent, GenerationRequest } from './scheduler/generation.ts';
