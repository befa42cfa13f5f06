import { type Config, type Coordinator, defaultConfig, startCoordinator } from '../../coordinator/src/index.ts';
import { CACHE_DIR, TINY_STORIES } from './golden.ts';

/** The configuration of the default model, packed as f16, for tests, benchmarks and tools. */
export function tinyConfig(overrides: Partial<Config> = {}): Config {
  return defaultConfig({ model: TINY_STORIES, quant: 'f16', cacheDir: CACHE_DIR, ...overrides });
}

/** Starts a real, quiet coordinator of the default model on a free loopback port. */
export function startTinyCoordinator(overrides: Partial<Config> = {}): Promise<Coordinator> {
  return startCoordinator(tinyConfig({ port: 0, drainTimeoutMs: 1000, logLevel: 'silent', ...overrides }));
}
