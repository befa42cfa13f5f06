import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { createWasmBackend, type WasmExpertBackend } from '@shoal/kernels/node';
import { shardHash } from '@shoal/weights';
import { openPacked, type PackedModel } from '@shoal/weights/node';
import type { ExpertWork, ExpertWorkerData, FromExpertWorker, ToExpertWorker } from './worker.ts';
import { ExpertCache } from './expert-cache.ts';
import type { WorkItem } from '@shoal/model';
import { LayerStore } from './layer-store.ts';

const { packedDir, maxBytes, threads } = workerData as ExpertWorkerData;

/** Each memory of stored experts has a team of its own, of which one at a time works. */
const MAX_TEAM_THREADS = 128;
/** Of WebAssembly. */
const MEMORY_BYTES = 4 * 2 ** 30;
let teamThreads = threads;

interface Ready {
  packed: PackedModel;
  cached: ExpertCache;
  stored: LayerStore;
  /** Holds nothing between requests. */
  anew: WasmExpertBackend;
}

async function prepare(): Promise<Ready> {
  const packed = await openPacked(packedDir);
  const { shape, shardBytes, expertsPerLayer } = packed.manifest;
  const backend = await createWasmBackend({ shape, threads });
  const cached = new ExpertCache({
    backend,
    // Never all out before one is in: the backend gives its memory up with its last expert, and another to the collector.
    maxExperts: Math.max(2, Math.floor(maxBytes / shardBytes)),
    read: (layer, expert) => packed.readShard(layer, expert),
  });
  const stored = new LayerStore({
    expertsPerLayer,
    createBackend: () => createWasmBackend({ shape, threads: teamThreads }),
    read: (layer, expert) => packed.readShard(layer, expert),
  });
  return { packed, cached, stored, anew: await createWasmBackend({ shape, threads: 1 }) };
}

/** A fresh backend's weights, from files that are read and hashed for this request. */
async function computeAnew({ packed, anew }: Ready, request: WorkItem): Promise<Float32Array> {
  const experts = [...new Set(request.experts)];
  try {
    for (const expert of experts) {
      const hash = shardHash(packed.manifest, request.layer, expert);
      const path = hash && packed.shardPath(hash);
      if (!path) throw new Error(`there is no expert ${expert} in layer ${request.layer}`);
      const bytes = await readFile(path);
      if (createHash('sha256').update(bytes).digest('hex') !== hash)
        throw new Error(`${path} is spoilt; pack the model again`);
      await anew.load(request.layer, expert, bytes);
    }
    return (await anew.run(request)).partial;
  } finally {
    for (const expert of experts) anew.unload(request.layer, expert);
  }
}

const ready = prepare();
// Told to whoever asks first.
ready.catch(() => {});

/** Load layers for good, telling of each expert. */
async function pin({ packed, stored }: Ready, layers: readonly number[]): Promise<void> {
  const { shardBytes, expertsPerLayer } = packed.manifest;
  const totalBytes = layers.length * expertsPerLayer * shardBytes;
  teamThreads = Math.max(1, Math.min(threads, Math.floor((MAX_TEAM_THREADS * MEMORY_BYTES) / totalBytes)));
  let doneBytes = 0;
  const progress = (bytes: number): void => {
    const message: FromExpertWorker = { progress: { doneBytes: (doneBytes += bytes), totalBytes } };
    parentPort!.postMessage(message);
  };
  progress(0);
  for (const layer of layers) {
    if (stored.has(layer)) progress(expertsPerLayer * shardBytes);
    else await stored.pin(layer, () => progress(shardBytes));
  }
}

function compute(machine: Ready, { request, anew }: ExpertWork): Promise<Float32Array> {
  if (anew) return computeAnew(machine, request);
  return machine.stored.has(request.layer) ? machine.stored.run(request) : machine.cached.run(request);
}

async function answer(message: ToExpertWorker): Promise<FromExpertWorker> {
  try {
    const machine = await ready;
    if ('pin' in message) {
      await pin(machine, message.pin);
      return { stored: message.pin };
    }
    const startedMs = performance.now();
    const partial = await compute(machine, message);
    return { partial, busyMs: performance.now() - startedMs, normProducts: machine.cached.takeNormProducts() };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

// The coordinator asks one at a time.
parentPort!.on('message', (message: ToExpertWorker) => {
  void answer(message).then((reply) => {
    parentPort!.postMessage(reply, 'partial' in reply ? [reply.partial.buffer as ArrayBuffer] : []);
  });
});
