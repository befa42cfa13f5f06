import { register } from 'node:module';
import type { ExpertShape } from '@shoal/weights';
import { KernelError } from './backend.ts';
import type { WebGpuBackend } from './webgpu/create.ts';

/** The version of the package `webgpu` that this is tested with. It is not installed by itself: it holds 130 MB for five platforms. */
const WEBGPU_VERSION = '0.6.2';

/** Vite's `?raw` imports for Node, which the shaders are: a checkout runs its sources as they are. */
const RAW_IMPORTS = `
import { readFile } from 'node:fs/promises';
export async function load(url, context, next) {
  if (!url.endsWith('?raw')) return next(url, context);
  const text = await readFile(new URL(url.slice(0, -'?raw'.length)), 'utf8');
  return { format: 'module', shortCircuit: true, source: 'export default ' + JSON.stringify(text) };
}`;

let opened: Promise<GPU> | undefined;
let readsRaw = false;

/**
 * WebGPU for Node: Dawn, as Chromium has it, from the npm package `webgpu`. Rejects with a KernelError `no-adapter` that says what
 * to install where the package is missing or doesn't load.
 */
export function openDawn(): Promise<GPU> {
  opened ??= loadDawn();
  return opened;
}

async function loadDawn(): Promise<GPU> {
  try {
    const { create, globals } = await import('webgpu');
    Object.assign(globalThis, globals);
    return create([]);
  } catch (cause) {
    const isMissing = (cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND';
    const what = isMissing
      ? 'WebGPU for Node is not installed'
      : `WebGPU for Node does not load on ${process.platform}-${process.arch} (${firstLine(cause)})`;
    const remedy = isMissing ? `npm install webgpu@${WEBGPU_VERSION}` : `npm install --force webgpu@${WEBGPU_VERSION}`;
    throw new KernelError('no-adapter', `${what}: run "${remedy}" in the folder where Shoal is installed`, { cause });
  }
}

/** As `createWebGpuBackend` of the package, with an adapter of `openDawn`. */
export async function createDawnBackend(options: {
  gpu: GPU | GPUAdapter;
  shape: ExpertShape;
}): Promise<WebGpuBackend> {
  if (!readsRaw && import.meta.filename.endsWith('.ts')) {
    register(`data:text/javascript,${encodeURIComponent(RAW_IMPORTS)}`);
    readsRaw = true;
  }
  const { createWebGpuBackend } = await import('./webgpu/create.ts');
  return createWebGpuBackend(options);
}

function firstLine(error: unknown): string {
  return String((error as Error).message ?? error).split('\n')[0]!;
}
