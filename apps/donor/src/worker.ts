import './csp.ts';
import { createWasmBackend, createWebGpuBackend, hasWasmSimd } from '@shoal/peer';
import type { AdapterInfo } from '@shoal/protocol';
import { cpuAdapter, type Device, gpuAdapter, lentThreads } from './device.ts';
import type { FromWorker, ProbeFailure, ToWorker } from './messages.ts';
import { openShardCache } from './shard-cache.ts';
import { TabHost } from './tab-host.ts';

function post(message: FromWorker): void {
  self.postMessage(message);
}

/** Describes the device before the model is known. The device itself is requested once the model's shape is. */
async function probe(device: Device): Promise<AdapterInfo | ProbeFailure> {
  if (!self.isSecureContext) return 'insecure';
  if (device === 'cpu') return hasWasmSimd() ? cpuAdapter(lentThreads()) : 'no-wasm';
  if (!('gpu' in navigator)) return 'no-webgpu';
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  return adapter ? gpuAdapter(adapter) : 'no-adapter';
}

const { cache, isLost } = openShardCache(self);
if (isLost) post({ type: 'cache-failed', reason: 'unavailable' });

const host = new TabHost({
  cache,
  fetch: (...request) => fetch(...request),
  probe,
  createBackend: async (device, shape) =>
    device === 'cpu'
      ? createWasmBackend({ shape, threads: lentThreads() })
      : (await createWebGpuBackend({ gpu: navigator.gpu, shape })).backend,
  post,
  // The page's error event reports it.
  onBug: (error) => self.reportError(error),
});

self.onmessage = ({ data }: MessageEvent<ToWorker>) => host.receive(data);
