import { Worker } from 'node:worker_threads';

/**
 * A thread that runs a TypeScript module. tsx as the process's own `--import` registers itself in the main thread alone,
 * Node 20 ignores a loader in a worker's execArgv, and a test runner's loaders don't reach threads either, so the thread
 * registers tsx by itself, first. None of the parent's flags reach it.
 */
export function startTypescriptThread(module: URL, workerData: unknown): Worker {
  const source = `
    import(${JSON.stringify(import.meta.resolve('tsx/esm/api'))}).then(({ register }) => {
      register();
      return import(${JSON.stringify(module.href)});
    });
  `;
  return new Worker(source, { eval: true, workerData, execArgv: [] });
}
