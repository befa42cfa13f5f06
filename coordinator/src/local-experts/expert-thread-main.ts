import { parentPort, workerData } from 'node:worker_threads';
import { createWasmBackend } from '@shoal/kernels/node';
import type { WorkItem } from '@shoal/model';
import { type Damage, openPacked } from '@shoal/weights/node';
import { ExpertCache } from './expert-cache.ts';
import type { ExpertThreadData, ThreadReply, ThreadTask } from './expert-thread.ts';
import { LayerStore } from './layer-store.ts';

/** What runs in the thread of `ExpertThread`, which sends one task at a time. */
const { packedDir, checkpoint, maxBytes, threads } = workerData as ExpertThreadData;
const port = parentPort!;

/** Each memory of loaded layers has a team of threads, of which one at a time works. */
const MAX_TEAM_THREADS = 128;
/** Of a WebAssembly instance. */
const MEMORY_BYTES = 4 * 2 ** 30;
let teamThreads = threads;

async function open() {
  const onDamage = (damage: Damage): void => port.postMessage({ damage } satisfies ThreadReply);
  const packed = await openPacked(packedDir, { checkpoint, onDamage, shardsOnly: true });
  const { shape, shardBytes, expertsPerLayer } = packed.manifest;
  const read = (layer: number, expert: number): Promise<Uint8Array> => packed.readShard(layer, expert);
  // At least two: a backend that gives its last expert up gives its memory to the garbage collector, and takes another.
  const maxExperts = Math.max(2, Math.floor(maxBytes / shardBytes));
  const cache = new ExpertCache({ backend: await createWasmBackend({ shape, threads }), maxExperts, read });
  const createBackend = () => createWasmBackend({ shape, threads: teamThreads });
  const layers = new LayerStore({ expertsPerLayer, createBackend, read });
  /** Empty between items. */
  const anew = await createWasmBackend({ shape, threads: 1 });
  return { packed, cache, layers, anew };
}

type Opened = Awaited<ReturnType<typeof open>>;

/** Computes with weights that are read, and so checked against their hash, for this item alone. */
async function computeAnew({ packed, anew }: Opened, item: WorkItem): Promise<Float32Array> {
  const experts = [...new Set(item.experts)];
  try {
    for (const expert of experts) {
      await anew.load(item.layer, expert, await packed.readShard(item.layer, expert));
    }
    return (await anew.run(item)).partial;
  } finally {
    for (const expert of experts) anew.unload(item.layer, expert);
  }
}

/** Loads whole layers for as long as the thread lives. */
async function loadLayers({ packed, layers }: Opened, wanted: readonly number[]): Promise<void> {
  const { shardBytes, expertsPerLayer } = packed.manifest;
  const totalBytes = wanted.length * expertsPerLayer * shardBytes;
  teamThreads = Math.max(1, Math.min(threads, Math.floor((MAX_TEAM_THREADS * MEMORY_BYTES) / totalBytes)));
  let doneBytes = 0;
  const progress = (bytes: number): void => {
    port.postMessage({ progress: { doneBytes: (doneBytes += bytes), totalBytes } } satisfies ThreadReply);
  };
  progress(0);
  for (const layer of wanted) {
    if (layers.has(layer)) progress(expertsPerLayer * shardBytes);
    else await layers.load(layer, () => progress(shardBytes));
  }
}

function compute(opened: Opened, item: WorkItem, isAnew: boolean): Promise<Float32Array> {
  if (isAnew) return computeAnew(opened, item);
  return opened.layers.has(item.layer) ? opened.layers.run(item) : opened.cache.run(item);
}

// Where this fails, the thread ends with the reason, and the next task gets another.
const opening = open();

async function answer(opened: Opened, task: ThreadTask): Promise<ThreadReply> {
  try {
    if ('load' in task) {
      await loadLayers(opened, task.load);
      return { loaded: true };
    }
    const startedMs = performance.now();
    const partial = await compute(opened, task.item, task.anew);
    return { partial, busyMs: performance.now() - startedMs, experts: opened.cache.takeLoaded() };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

port.on('message', (task: ThreadTask) => {
  const answering = opening.then((opened) => answer(opened, task));
  void answering.then((reply) => {
    port.postMessage(reply, 'partial' in reply ? [reply.partial.buffer as ArrayBuffer] : []);
  });
});
