import { messageOf } from '@shoal/model';
import type { ExpertShape } from '@shoal/weights';
import { KernelError } from '../backend.ts';
import plainUrl from '../../dist/shoal.wasm?url';
import relaxedUrl from '../../dist/shoal-relaxed.wasm?url';
import threadsUrl from '../../dist/shoal-threads.wasm?url';
import threadsRelaxedUrl from '../../dist/shoal-threads-relaxed.wasm?url';
import { WasmExpertBackend } from './backend.ts';
import { bestVariant, type WasmVariant } from './features.ts';
import { THREAD_BODY, type StartThread } from './threads.ts';

/** See `createWasmBackend` of the package. */
export async function createWasmBackend(options: {
  shape: ExpertShape;
  variant?: WasmVariant;
  threads: number;
}): Promise<WasmExpertBackend> {
  const variant = options.variant ?? bestVariant();
  if (!variant) throw new KernelError('no-adapter', 'this browser has no WebAssembly SIMD: update it');
  const module = await compile(urlOf(variant));
  return new WasmExpertBackend({ module, variant, shape: options.shape, threads: options.threads, startThread });
}

function urlOf({ threads, relaxed }: WasmVariant): string {
  if (threads) return relaxed ? threadsRelaxedUrl : threadsUrl;
  return relaxed ? relaxedUrl : plainUrl;
}

async function compile(url: string): Promise<WebAssembly.Module> {
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
    // Not compileStreaming, which requires a MIME type that not every proxy in front of a coordinator sends.
    return await WebAssembly.compile(await response.arrayBuffer());
  } catch (cause) {
    throw new KernelError('compile', `the WebAssembly kernels could not be loaded: ${messageOf(cause)}`, { cause });
  }
}

const startThread: StartThread = (start) => {
  // A blob inherits this page's content security policy.
  const source = `onmessage = ({ data }) => (${THREAD_BODY})(data);`;
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const worker = new Worker(url);
  URL.revokeObjectURL(url);
  worker.postMessage(start);
  return { terminate: () => worker.terminate() };
};
