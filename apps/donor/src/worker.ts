import './csp.ts';
import {
  BROWSER_SPREAD_ABOVE_BYTES,
  createWasmBackend,
  createWebGpuBackend,
  type DataChannelLike,
  FramedChannel,
  hasWasmSimd,
  KernelError,
  MAX_MISSED_OF_COORDINATOR,
  PeerHost,
  RelayedChannel,
} from '@shoal/peer';
import type { AdapterInfo } from '@shoal/protocol';
import { lentThreads, MAX_CPU_PLEDGE_BYTES, threadsInWords, type Device } from './device.ts';
import type { FromWorker, ProbeFailure, ToWorker } from './messages.ts';
import { SeekCalls } from './seek-calls.ts';
import { openShardCache } from './shard-cache.ts';

const STATS_INTERVAL_MS = 1_000;
/** The coordinator accepts two progress messages per second, which is also enough for the progress bar. */
const PROGRESS_INTERVAL_MS = 500;

function post(message: FromWorker): void {
  self.postMessage(message);
}

const { cache, isLost } = openShardCache(self);
if (isLost) post({ type: 'cache-failed', reason: 'unavailable' });

let device: Device = 'gpu';
let heartbeatMs = 0;
let shardsAt = '';
/** So the first report is always sent, even if the worker is younger than the interval. */
let lastProgressMs = -PROGRESS_INTERVAL_MS;
let statsTimer: ReturnType<typeof setInterval> | undefined;

const seekCalls = new SeekCalls(post);
const host = new PeerHost({
  seek: (message) => seekCalls.call(message),
  createBackend: async (shape) =>
    device === 'cpu'
      ? createWasmBackend({ shape, threads: lentThreads() })
      : (await createWebGpuBackend({ gpu: navigator.gpu, shape })).backend,
  cache,
  urlOf: (sha256) => `${shardsAt}${sha256}`,
  fetch: (...request) => fetch(...request),
  events: {
    onProgress: (progress) => {
      const nowMs = performance.now();
      const last = progress.doneBytes === progress.totalBytes;
      if (!last && nowMs - lastProgressMs < PROGRESS_INTERVAL_MS) return;
      lastProgressMs = nowMs;
      post({ type: 'progress', progress });
    },
    onReady: (ready) => post({ type: 'ready', ready }),
    onTrouble: (trouble) => post({ type: 'trouble', trouble }),
    onAdapted: (adapted) => post({ type: 'adapted', adapted }),
    onCacheFailure: ({ reason }) => post({ type: 'cache-failed', reason }),
    onLinkClosed: (reason, coordinator) => {
      links.delete(coordinator);
      post({ type: 'link-closed', reason, coordinator });
    },
    onBackendGone: ({ message }) => post({ type: 'backend-gone', message }),
  },
});

/** Describes the CPU as an adapter; the coordinator recognises it by `wasm`. */
function cpuAdapter(): AdapterInfo {
  return {
    vendor: 'cpu',
    architecture: 'wasm',
    description: threadsInWords(lentThreads()),
    isFallbackAdapter: true,
    maxBufferBytes: MAX_CPU_PLEDGE_BYTES,
    maxStorageBindingBytes: MAX_CPU_PLEDGE_BYTES,
  };
}

/** Describes the device before the model is known. The device itself is requested once the model's shape is. */
async function probe(): Promise<AdapterInfo | ProbeFailure> {
  if (!self.isSecureContext) return 'insecure';
  if (device === 'cpu') return hasWasmSimd() ? cpuAdapter() : 'no-wasm';
  if (!('gpu' in navigator)) return 'no-webgpu';
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return 'no-adapter';
  const { vendor, architecture, description, isFallbackAdapter } = adapter.info;
  return {
    vendor: vendor.slice(0, MAX_TEXT_CHARS),
    architecture: architecture.slice(0, MAX_TEXT_CHARS),
    description: description.slice(0, MAX_TEXT_CHARS),
    isFallbackAdapter: isFallbackAdapter ?? false,
    maxBufferBytes: adapter.limits.maxBufferSize,
    maxStorageBindingBytes: adapter.limits.maxStorageBufferBindingSize,
  };
}
/** Limit of the signalling schema. */
const MAX_TEXT_CHARS = 200;

function postStats(): void {
  post({ type: 'stats', stats: host.stats(), mirrorFaults: host.takeMirrorFaults() });
}

async function handle(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'probe': {
      device = message.device;
      const found = await probe();
      return post(
        typeof found === 'string' ? { type: 'probe-failed', reason: found } : { type: 'probed', adapter: found },
      );
    }
    case 'configure':
      heartbeatMs = message.heartbeatMs;
      shardsAt = message.shardsAt;
      await host.configure(message.model, message.pledgeBytes, message.shardUrls);
      statsTimer ??= setInterval(postStats, STATS_INTERVAL_MS);
      return post({ type: 'configured' });
    case 'channel':
      return attach(message.channel, message);
    case 'relay':
      return attach(new RelayedChannel(message.port), message);
    case 'detach':
      links.delete(message.coordinator);
      return host.detach('goodbye', message.coordinator);
    case 'assign':
      return host.assign(message.assignment);
    case 'adapters':
      return host.adapt(message.message);
    case 'pause':
      return host.setPaused(message.paused);
    case 'exchange':
      if (message.uploadBitsPerSecond === undefined) return host.exchange.stop();
      return host.exchange.start(message.uploadBitsPerSecond);
    case 'tab-channel':
      return host.exchange.attach(message.tab, message.channel);
    case 'tab-relay':
      return host.exchange.attach(message.tab, new RelayedChannel(message.port));
    case 'tab-gone':
      return host.exchange.detach(message.tab);
    case 'seek-reply':
      return seekCalls.settle(message.id, message.reply);
  }
  message satisfies never;
}

/** By coordinator. */
const links = new Map<string, FramedChannel>();

function attach(channel: DataChannelLike, of: { isFurther: boolean; coordinator: string }): void {
  const { isFurther, coordinator } = of;
  if (isFurther) return links.get(coordinator)?.addChannel(channel);
  const link = new FramedChannel(channel, {
    heartbeatMs,
    maxMissedHeartbeats: MAX_MISSED_OF_COORDINATOR,
    spreadAboveBytes: BROWSER_SPREAD_ABOVE_BYTES,
  });
  links.set(coordinator, link);
  host.attach(link, coordinator);
}

// Handled strictly in order: an assignment that comes while the GPU is being set up must wait.
let handled: Promise<void> = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  handled = handled.then(() => handle(data)).catch((error: unknown) => explain(data, error));
};

function explain(message: ToWorker, error: unknown): void {
  if (message.type === 'configure') {
    const reason = error instanceof KernelError ? error.reason : 'internal';
    post({ type: 'configure-failed', reason, message: error instanceof Error ? error.message : String(error) });
  } else if (message.type === 'probe') {
    post({ type: 'probe-failed', reason: 'no-adapter' });
  } else {
    // A bug of ours, which the page's error event reports.
    self.reportError(error);
  }
}
