import type { AdapterInfo } from '@shoal/protocol';

/** What a donor lends: a GPU through WebGPU, or a CPU, which computes the same in WebAssembly but much slower. */
export type Device = 'gpu' | 'cpu';

export const DEVICE_WORD: Readonly<Record<Device, string>> = { gpu: 'GPU', cpu: 'CPU' };

/** A tab is a guest, so a large machine should hardly notice it. */
const MAX_LENT_THREADS = 4;

/** Threads that a CPU donor lends: half of the CPU's, or one if the page can't share memory between threads. */
export function lentThreads(cores = navigator.hardwareConcurrency, mayShare = crossOriginIsolated): number {
  return mayShare ? Math.max(1, Math.min(MAX_LENT_THREADS, Math.floor(cores / 2))) : 1;
}

/** "one thread" or "4 threads". */
export function threadsInWords(threads: number): string {
  return threads === 1 ? 'one thread' : `${threads} threads`;
}

/** WebAssembly's address space. */
export const MAX_CPU_PLEDGE_BYTES = 4 * 2 ** 30;

/** Describes the CPU as an adapter; the coordinator recognises it by `wasm`. */
export function cpuAdapter(threads: number): AdapterInfo {
  return {
    vendor: 'cpu',
    architecture: 'wasm',
    description: threadsInWords(threads),
    isFallbackAdapter: true,
    maxBufferBytes: MAX_CPU_PLEDGE_BYTES,
    maxStorageBindingBytes: MAX_CPU_PLEDGE_BYTES,
  };
}

/** Describes a GPU's adapter as the coordinator takes it. */
export function gpuAdapter({ info, limits }: GPUAdapter): AdapterInfo {
  return {
    vendor: info.vendor.slice(0, MAX_TEXT_CHARS),
    architecture: info.architecture.slice(0, MAX_TEXT_CHARS),
    description: info.description.slice(0, MAX_TEXT_CHARS),
    isFallbackAdapter: info.isFallbackAdapter ?? false,
    maxBufferBytes: limits.maxBufferSize,
    maxStorageBindingBytes: limits.maxStorageBufferBindingSize,
  };
}
/** Limit of the signalling schema. */
const MAX_TEXT_CHARS = 200;

/** Whether the browser may have WebGPU, without asking it for a GPU. Over plain HTTP browsers hide it, so we can't tell. */
export function mayHaveWebGpu(): boolean {
  return 'gpu' in navigator || !isSecureContext;
}
