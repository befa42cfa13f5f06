/** What a donor lends. A GPU is reached through WebGPU; a CPU computes the same in WebAssembly, much slower. */
export type Device = 'gpu' | 'cpu';

export const DEVICE_WORD: Readonly<Record<Device, string>> = { gpu: 'GPU', cpu: 'CPU' };

/** Threads that a CPU donor lends: docs/adr/0014 says why not more. */
export const LENT_THREADS = 1;

/** What WebAssembly can address. */
export const MAX_CPU_PLEDGE_BYTES = 4 * 2 ** 30;

/**
 * Whether this browser knows WebGPU, without asking it for anything. On an address that is not secure no browser shows it;
 * there the address is what has to change.
 */
export function mayHaveWebGpu(): boolean {
  return 'gpu' in navigator || !isSecureContext;
}
