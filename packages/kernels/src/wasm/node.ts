import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { ExpertShape } from '@shoal/weights';
import { KernelError } from '../backend.ts';
import { WasmExpertBackend } from './backend.ts';
import { bestVariant, variantFile, type WasmVariant } from './features.ts';
import { THREAD_BODY, type StartThread } from './threads.ts';

const DIST = join(import.meta.dirname, '../../dist');

/** Compiles the module of a variant. Throws KernelError `compile`, naming the remedy. */
export async function compileWasm(variant: WasmVariant): Promise<WebAssembly.Module> {
  const file = join(DIST, variantFile(variant));
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    throw new KernelError('compile', `${file} is missing: run "npm run build"`, { cause });
  }
  return WebAssembly.compile(bytes);
}

/**
 * Creates a backend on this machine's CPU, for Node. `variant` is the best by default, `threads` 1.
 * Throws KernelError `compile`.
 */
export async function createWasmBackend(options: {
  shape: ExpertShape;
  variant?: WasmVariant;
  threads?: number;
}): Promise<WasmExpertBackend> {
  const variant = options.variant ?? bestVariant();
  if (!variant) throw new KernelError('compile', 'this Node.js has no WebAssembly SIMD');
  const module = await compileWasm(variant);
  // Why one: docs/adr/0014, Threads.
  const threads = options.threads ?? 1;
  return new WasmExpertBackend({ module, variant, shape: options.shape, threads, startThread });
}

const startThread: StartThread = (start) => {
  const source = `const { workerData } = require('node:worker_threads'); (${THREAD_BODY})(workerData);`;
  const worker = new Worker(source, { eval: true, workerData: start, execArgv: [] });
  // It sleeps in WebAssembly and would keep the process alive. If it fails, the other threads compute its share.
  worker.unref();
  worker.on('error', () => {});
  return { terminate: () => void worker.terminate() };
};
