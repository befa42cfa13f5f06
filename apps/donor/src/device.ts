/** What a donor lends. A GPU is reached through WebGPU; a CPU computes the same in WebAssembly, much slower. */
export type Device = 'gpu' | 'cpu';

export const DEVICE_WORD: Readonly<Record<Device, string>> = { gpu: 'GPU', cpu: 'CPU' };

/** A tab is a guest: a large machine should hardly notice it. */
const MAX_LENT_THREADS = 4;

/** Threads that a CPU donor lends: half of its processor's, one where the page may not share memory between threads. */
export function lentThreads(cores = navigator.hardwareConcurrency, mayShare = crossOriginIsolated): number {
  return mayShare ? Math.max(1, Math.min(MAX_LENT_THREADS, Math.floor(cores / 2))) : 1;
}

/** "one thread" or "4 threads". */
export function threadsInWords(threads: number): string {
  return threads === 1 ? 'one thread' : `${threads} threads`;
}

/** What WebAssembly can address. */
export const MAX_CPU_PLEDGE_BYTES = 4 * 2 ** 30;

/**
 * Whether this browser knows WebGPU, without asking it for anything. On an address that is not secure no browser shows it;
 * there the address is what has to change.
 */
export function mayHaveWebGpu(): boolean {
  return 'gpu' in navigator || !isSecureContext;
}
