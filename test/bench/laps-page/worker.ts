import { createWebGpuBackend, type ExpertBackend } from '@shoal/kernels';
import { createRng, encodeF16, normalDraw, type WorkItem, uniformWorkItem } from '@shoal/model';
import { BROWSER_SPREAD_ABOVE_BYTES, ExpertRunner, FramedChannel, type LapBackend } from '@shoal/peer';
import { packExpert, type ExpertShape } from '@shoal/weights';
import type { LapMoments, TabAnswer, TabCommand } from './messages.ts';

/**
 * A tab's production lap path (ExpertRunner, FramedChannel, the WebGPU backend), observed from outside: only the
 * browser's own functions are wrapped.
 */
let backend: ExpertBackend;
let shape: ExpertShape;
let held = { layers: 0, experts: 0 };
let moments: LapMoments[] = [];
let pieces: number[] = [];
let arrayBytes = 0;
let isWatched = false;
let runner: ExpertRunner;
let link: FramedChannel;
let current: Partial<LapMoments> = {};
const mark = (moment: keyof LapMoments): void => {
  if (isWatched) current[moment] = performance.now();
};

watchBrowser();
self.onmessage = ({ data }: MessageEvent<TabCommand>) => {
  if (data.type === 'channel') return link.addChannel(data.channel);
  void handle(data).then((answer) => self.postMessage(answer));
};

async function handle(command: Exclude<TabCommand, { type: 'channel' }>): Promise<TabAnswer> {
  switch (command.type) {
    case 'start':
      await start(command);
      return { type: 'done' };
    case 'watch':
      isWatched = true;
      moments = [];
      pieces = [];
      arrayBytes = 0;
      return { type: 'done' };
    case 'moments':
      return { type: 'moments', moments, pieces, arrayBytes };
    case 'together':
      runner.setBackend(command.on ? backend : oneByOne(backend));
      return { type: 'done' };
    case 'quiet':
      isWatched = false;
      return { type: 'done' };
    case 'count-arrays':
      countArrays();
      return { type: 'done' };
    case 'kernel':
      return { type: 'kernel', kernelMs: await kernelTimes(command) };
  }
  throw new Error(`unknown command ${JSON.stringify(command satisfies never)}`);
}

async function start({ channel, ...command }: TabCommand & { type: 'start' }): Promise<void> {
  channel!.addEventListener('message', ({ data }) => {
    // Heartbeats and cancels are not laps.
    if (!isWatched || (data as ArrayBuffer).byteLength <= 8) return;
    current = {};
    mark('arrived');
  });
  ({ shape } = command);
  held = command;
  runner = new ExpertRunner({ holds: () => true, onLinkClosed: () => {} });
  link = new FramedChannel(channel!, { spreadAboveBytes: BROWSER_SPREAD_ABOVE_BYTES });
  runner.attach(link);
  ({ backend } = await createWebGpuBackend({ gpu: navigator.gpu, shape }));
  const shard = randomShard();
  for (let layer = 0; layer < command.layers; layer++) {
    await backend.reserve(layer, [...Array(command.experts).keys()]);
    for (let expert = 0; expert < command.experts; expert++) await backend.load(layer, expert, shard);
  }
  const run = backend.runTogether!.bind(backend);
  backend.runTogether = (...laps) => {
    mark('run');
    if (isWatched) pieces.push(laps[0].length);
    return run(...laps);
  };
  runner.setBackend(backend);
}

const oneByOne = ({ shape: ofBackend }: ExpertBackend): LapBackend => ({
  shape: ofBackend,
  run: (lap) => backend.run(lap),
});

/** Counts arrays that own their memory; views don't, and the browser makes its arrays for messages elsewhere. */
function countArrays(): void {
  const scope = globalThis as unknown as Record<string, new (...args: unknown[]) => { byteLength: number }>;
  const { ArrayBuffer: Buffer } = globalThis;
  for (const name of ['ArrayBuffer', 'Int8Array', 'Uint8Array', 'Uint16Array', 'Uint32Array', 'Float32Array']) {
    const original = scope[name]!;
    const counted: typeof original = new Proxy(original, {
      construct(target, args, newTarget: typeof original) {
        const made = Reflect.construct(target, args, newTarget === counted ? target : newTarget) as {
          byteLength: number;
        };
        if (!(args[0] instanceof Buffer)) arrayBytes += made.byteLength;
        return made;
      },
    });
    // For `slice`, `map` and similar methods.
    Object.defineProperty(original.prototype, 'constructor', { value: counted });
    scope[name] = counted;
  }
}

function watchBrowser(): void {
  const { submit } = GPUQueue.prototype;
  GPUQueue.prototype.submit = function (buffers) {
    // Ignores empty submissions, which only serve to learn sooner what has finished.
    if ([...buffers].length === 0) return submit.call(this, buffers);
    mark('submit');
    submit.call(this, buffers);
    mark('submitted');
    return undefined;
  };
  const { mapAsync } = GPUBuffer.prototype;
  GPUBuffer.prototype.mapAsync = function (...args) {
    mark('map');
    const mapped = mapAsync.apply(this, args);
    if (!isWatched) return mapped;
    void mapped.then(() => mark('mapped'));
    return mapped;
  };
  const { send } = RTCDataChannel.prototype;
  RTCDataChannel.prototype.send = function (data: never) {
    mark('send');
    send.call(this, data);
    // A pong is not an answer, and each lap has one answer.
    if (!isWatched || current.mapped === undefined || (data as ArrayBufferView).byteLength <= 8) return;
    moments.push(current as LapMoments);
    current = {};
  };
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
    const requiredFeatures = [...(descriptor.requiredFeatures ?? []), 'timestamp-query' as const];
    return requestDevice.call(this, { ...descriptor, requiredFeatures }).then((device) => (timedDevice = device));
  };
}

let timedDevice: GPUDevice;

/** Times the compute pass of each of several laps with GPU timestamps. */
async function kernelTimes({ numRows, topK, runs }: TabCommand & { type: 'kernel' }): Promise<number[]> {
  const device = timedDevice;
  const querySet = device.createQuerySet({ type: 'timestamp', count: 2 });
  const resolved = device.createBuffer({ size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
  const readable = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const { beginComputePass } = GPUCommandEncoder.prototype;
  GPUCommandEncoder.prototype.beginComputePass = function (descriptor = {}) {
    const timestampWrites = { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    return beginComputePass.call(this, { ...descriptor, timestampWrites });
  };
  const times: number[] = [];
  try {
    for (let i = 0; i < runs; i++) {
      await backend.run(someLap(numRows, topK, i));
      const encoder = device.createCommandEncoder();
      encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, readable, 0, 16);
      device.queue.submit([encoder.finish()]);
      await readable.mapAsync(GPUMapMode.READ);
      const [from, to] = new BigUint64Array(readable.getMappedRange());
      times.push(Number(to! - from!) / 1e6);
      readable.unmap();
    }
  } finally {
    GPUCommandEncoder.prototype.beginComputePass = beginComputePass;
  }
  return times;
}

function someLap(numRows: number, topK: number, i: number): WorkItem {
  const rng = createRng(i);
  return uniformWorkItem({
    layer: i % held.layers,
    rows: encodeF16(Float32Array.from({ length: numRows * shape.hiddenSize }, () => normalDraw(rng))),
    numRows,
    experts: Uint16Array.from({ length: numRows * topK }, (_, a) => (a * 5 + i) % held.experts),
    weights: new Float32Array(numRows * topK).fill(0.25),
  });
}

function randomShard(): Uint8Array {
  const rng = createRng(5);
  const { hiddenSize: D, moeIntermediateSize: F } = shape;
  const matrix = (columns: number): Float32Array =>
    Float32Array.from({ length: D * F }, () => normalDraw(rng) / Math.sqrt(columns));
  return packExpert(shape, { gate: matrix(D), up: matrix(D), down: matrix(F) });
}
