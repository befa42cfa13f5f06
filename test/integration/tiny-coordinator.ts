import { type Coordinator, type CoordinatorOptions, startCoordinator } from '../../coordinator/src/index.ts';
import { CACHE_DIR, TINY_STORIES } from './golden.ts';

/** A real, quiet coordinator of the default model on a free loopback port; the defaults here are of tests, benchmarks and tools. */
export function startTinyCoordinator(options: Partial<CoordinatorOptions> = {}): Promise<Coordinator> {
  return startCoordinator({
    modelDir: TINY_STORIES,
    host: '127.0.0.1',
    port: 0,
    quant: 'f16',
    cacheDir: CACHE_DIR,
    replicas: 2,
    iceServers: [],
    drainTimeoutMs: 1000,
    logLevel: 'silent',
    ...options,
  });
}
