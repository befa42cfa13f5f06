import { Worker } from 'node:worker_threads';

/**
 * Starts a thread that runs a TypeScript module. tsx as the process's `--import` registers itself only in the main thread,
 * Node 20 ignores a loader in a worker's execArgv, and a test runner's loaders don't reach threads either, so the thread first
 * registers tsx itself. It gets none of the parent's flags.
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
