/** What a donor lends. A GPU is reached through WebGPU; a CPU computes the same in WebAssembly, much slower. */
export type Device = 'gpu' | 'cpu';

export const DEVICE_WORD: Readonly<Record<Device, string>> = { gpu: 'GPU', cpu: 'CPU' };

/** Threads beyond this wait for the same memory. */
const MAX_THREADS = 8;

/**
 * Threads that a CPU donor lends: half of the processor's, since somebody is using that computer. One where the page is
 * not isolated from other origins, without which browsers give no shared memory.
 */
export function lentThreads(hardwareConcurrency: number, isolated: boolean): number {
  return isolated ? Math.min(MAX_THREADS, Math.max(1, Math.floor(hardwareConcurrency / 2))) : 1;
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
