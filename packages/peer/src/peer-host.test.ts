import { createReferenceBackend, KernelError, type ExpertBackend } from '@shoal/kernels';
import type { Ready, ShardRef, Trouble } from '@shoal/protocol';
import { memoryLinkPair } from '@shoal/transport';
import { beforeEach, expect, it } from 'vitest';
import { KEPT_PLEDGES, PeerHost, type PeerHostOptions } from './peer-host.ts';
import { LapAsker, makeLap, makeShards, MODEL, nmseOf, SHAPE, ShardServer, urlOf } from './testing/tiny-peer.ts';
import { MemoryShardCache } from './shard-cache.ts';

const PLEDGE_BYTES = 100 * MODEL.shardBytes;

let refs: ShardRef[];
let reference: ExpertBackend;
let server: ShardServer;
let cache: MemoryShardCache;
let said: string[];
let readies: Ready[];
let troubles: Trouble[];
let progress: { doneBytes: number; totalBytes: number; cachedBytes: number }[];
let host: PeerHost;
/** Every backend made, with the means to lose its device. */
let made: { backend: ExpertBackend; lose: (reason: string) => void }[];
let createBackend: PeerHostOptions['createBackend'];

function makeHost(): PeerHost {
  return new PeerHost({
    createBackend: (shape) => createBackend(shape),
    cache,
    urlOf,
    fetch: server.fetch,
    rebuildDelaysMs: [1, 1, 1],
    events: {
      onProgress: (message) => progress.push(message),
      onReady: (ready) => readies.push(ready),
      onTrouble: (trouble) => troubles.push(trouble),
      onCacheFailure: ({ reason }) => said.push(`cache ${reason}`),
      onLinkClosed: (reason) => said.push(`link ${reason}`),
      onBackendGone: ({ reason }) => said.push(`gone ${reason}`),
    },
  });
}

function lossyBackend(): ExpertBackend {
  const inner = createReferenceBackend(SHAPE);
  let lose!: (reason: string) => void;
  const lost = new Promise<string>((resolve) => (lose = resolve));
  // The reference keeps its state in private fields, so its methods must be called on itself.
  const backend: ExpertBackend = {
    name: 'reference',
    shape: SHAPE,
    maxExpertsPerLayer: 8,
    lost,
    get allocatedBytes() {
      return inner.allocatedBytes;
    },
    reserve: (...args) => inner.reserve(...args),
    load: (...args) => inner.load(...args),
    unload: (...args) => inner.unload(...args),
    has: (...args) => inner.has(...args),
    openAdapter: (...args) => inner.openAdapter(...args),
    run: (...args) => inner.run(...args),
    destroy: () => inner.destroy(),
  };
  made.push({ backend, lose });
  return backend;
}

beforeEach(async () => {
  const model = await makeShards([1, 2, 3], 4);
  refs = model.refs;
  reference = model.reference;
  server = new ShardServer(model.bytesOf);
  cache = new MemoryShardCache();
  said = [];
  readies = [];
  troubles = [];
  progress = [];
  made = [];
  createBackend = async () => lossyBackend();
  host = makeHost();
  await host.configure(MODEL, PLEDGE_BYTES);
});

async function expectServing(shards: readonly ShardRef[]): Promise<void> {
  const { a, b } = memoryLinkPair();
  host.attach(b);
  const asker = new LapAsker(a);
  for (const { layer, expert } of shards) {
    const lap = makeLap(layer, [expert]);
    expect(await nmseOf(await asker.ask(lap), lap, reference)).toBeLessThan(1e-6);
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

it('fetches, loads, says ready with progress on the way, and serves', async () => {
  host.assign({ epoch: 1, shards: refs });
  await host.settled();
  expect(readies).toEqual([{ epoch: 1, allocatedBytes: made[0]!.backend.allocatedBytes }]);
  expect(server.requests.length).toBe(refs.length);
  expect(progress[0]).toMatchObject({ doneBytes: 0, totalBytes: refs.length * MODEL.shardBytes, cachedBytes: 0 });
  expect(progress.at(-1)).toMatchObject({ phase: 'uploading', doneBytes: refs.length * MODEL.shardBytes });
  await expectServing(refs);
});

it('in another visit downloads nothing', async () => {
  host.assign({ epoch: 1, shards: refs });
  await host.settled();
  await host.close();
  host = makeHost();
  await host.configure(MODEL, PLEDGE_BYTES);
  host.assign({ epoch: 1, shards: refs });
  await host.settled();
  expect(server.requests.length).toBe(refs.length);
  expect(progress.at(-1)!.cachedBytes).toBe(refs.length * MODEL.shardBytes);
  await expectServing(refs);
});

it('changes to another assignment by what differs alone', async () => {
  host.assign({ epoch: 1, shards: refs.slice(0, 6) });
  await host.settled();
  host.assign({ epoch: 2, shards: refs.slice(4, 9) });
  await host.settled();
  expect(server.requests).toEqual(refs.slice(0, 9).map(({ sha256 }) => sha256));
  const { backend } = made[0]!;
  expect(refs.map(({ layer, expert }) => backend.has(layer, expert))).toEqual(refs.map((_, i) => i >= 4 && i < 9));
  await expectServing(refs.slice(4, 9));
  const { a, b } = memoryLinkPair();
  host.attach(b);
  expect((await new LapAsker(a).ask(makeLap(refs[0]!.layer, [refs[0]!.expert]), 1)).refusal).toBe('stale-epoch');
});

it('replaces an expert whose contents have changed', async () => {
  host.assign({ epoch: 1, shards: [{ ...refs[0]!, sha256: refs[5]!.sha256 }] });
  await host.settled();
  host.assign({ epoch: 2, shards: [refs[0]!] });
  await host.settled();
  await expectServing([refs[0]!]);
});

it('drops an assignment for a later one, without repeating the downloads that both want', async () => {
  let release!: () => void;
  const gate = new Promise<void>((resolve) => (release = resolve));
  server.answer = async (sha256, _, signal) => {
    await gate;
    signal?.throwIfAborted();
    server.answer = () => undefined;
    const again = await server.fetch(urlOf(sha256));
    server.requests.pop();
    return again;
  };
  host.assign({ epoch: 1, shards: refs.slice(0, 8) });
  await until(() => server.requests.length === 4);
  host.assign({ epoch: 2, shards: refs.slice(2, 5) });
  release();
  await host.settled();
  expect(readies.map(({ epoch }) => epoch)).toEqual([2]);
  expect(server.requests.filter((sha256) => sha256 === refs[2]!.sha256).length).toBe(1);
  expect(server.requests.filter((sha256) => sha256 === refs[3]!.sha256).length).toBe(1);
  expect(server.requests).not.toContain(refs[7]!.sha256);
  await expectServing(refs.slice(2, 5));
});

it('keeps its experts over a link that breaks, and over a model that is told again', async () => {
  host.assign({ epoch: 1, shards: refs });
  await host.settled();
  const { b, wire } = memoryLinkPair();
  host.attach(b);
  wire.die('abrupt');
  await until(() => said.length > 0);
  expect(said).toEqual(['link failed']);
  await host.configure({ ...MODEL }, PLEDGE_BYTES);
  host.assign({ epoch: 7, shards: refs });
  await host.settled();
  expect(made.length).toBe(1);
  expect(server.requests.length).toBe(refs.length);
  expect(readies.map(({ epoch }) => epoch)).toEqual([1, 7]);
  await expectServing(refs);
});

it('lets another model replace the first', async () => {
  host.assign({ epoch: 1, shards: refs });
  await host.settled();
  await host.configure({ ...MODEL, id: 'another' }, PLEDGE_BYTES);
  expect(made.length).toBe(2);
  expect(host.stats()).toMatchObject({ expertsLoaded: 0, allocatedBytes: 0 });
});

it('refuses more than was lent, and more of a layer than the GPU can bind', async () => {
  await host.configure(MODEL, 3 * MODEL.shardBytes);
  host.assign({ epoch: 1, shards: refs.slice(0, 4) });
  await host.settled();
  await host.configure(MODEL, PLEDGE_BYTES);
  const manyOfOne = Array.from({ length: 9 }, (_, expert) => ({ ...refs[0]!, expert }));
  host.assign({ epoch: 2, shards: manyOfOne });
  await host.settled();
  expect(troubles.map(({ epoch, code }) => ({ epoch, code }))).toEqual([
    { epoch: 1, code: 'limits' },
    { epoch: 2, code: 'limits' },
  ]);
  expect(server.requests).toEqual([]);
});

it.each([
  ['a missing shard', () => new Response(null, { status: 404 }), 'download'],
  ['wrong contents', () => new Response(new Uint8Array(MODEL.shardBytes)), 'hash'],
])('tells of %s, and keeps what it has', async (_, answer, code) => {
  host.assign({ epoch: 1, shards: refs.slice(0, 2) });
  await host.settled();
  server.answer = answer;
  host.assign({ epoch: 2, shards: refs.slice(0, 4) });
  await host.settled();
  expect(troubles.map((trouble) => trouble.code)).toEqual([code]);
  await expectServing(refs.slice(0, 2));
  server.answer = () => undefined;
  host.assign({ epoch: 3, shards: refs.slice(0, 4) });
  await host.settled();
  await expectServing(refs.slice(0, 4));
});

it.each([
  ['out-of-memory', 'out-of-memory'],
  ['bad-shard', 'hash'],
  ['compile', 'internal'],
] as const)('tells of a GPU that answers a load with %s', async (reason, code) => {
  made[0]!.backend.load = () => Promise.reject(new KernelError(reason, 'as it happens'));
  host.assign({ epoch: 4, shards: refs });
  await host.settled();
  expect(troubles).toEqual([{ epoch: 4, code, message: 'as it happens' }]);
});

it('rebuilds a lost device from the cache, and refuses laps meanwhile', async () => {
  host.assign({ epoch: 1, shards: refs });
  await host.settled();
  const { a, b } = memoryLinkPair();
  host.attach(b);
  const asker = new LapAsker(a);
  let build!: () => void;
  const gate = new Promise<void>((resolve) => (build = resolve));
  createBackend = async () => {
    await gate;
    return lossyBackend();
  };
  made[0]!.lose('the driver was updated');
  await until(() => troubles.length > 0);
  expect(troubles).toEqual([{ epoch: 1, code: 'device-lost', message: 'the driver was updated' }]);
  expect((await asker.ask(makeLap(1, [0]))).refusal).toBe('device-lost');
  build();
  await until(() => readies.length === 2);
  expect(server.requests.length).toBe(refs.length);
  expect((await asker.ask(makeLap(1, [0]))).combine).toBeDefined();
});

it('gives a device up that cannot be had again', async () => {
  host.assign({ epoch: 1, shards: refs });
  await host.settled();
  let asked = 0;
  createBackend = async () => {
    asked++;
    throw new KernelError('no-adapter', 'none left');
  };
  made[0]!.lose('gone');
  await until(() => said.length > 0);
  expect(said).toEqual(['gone no-adapter']);
  expect(asked).toBe(3);
});

it('keeps on disk a bounded multiple of what is lent', async () => {
  await host.configure(MODEL, 2 * MODEL.shardBytes);
  for (let i = 0; i < refs.length; i += 2) {
    host.assign({ epoch: i, shards: refs.slice(i, i + 2) });
    await host.settled();
  }
  expect(await cache.sizeBytes()).toBe(KEPT_PLEDGES * 2 * MODEL.shardBytes);
  expect(cache.entries.has(refs.at(-1)!.sha256)).toBe(true);
});

it('works without a cache, and says so', async () => {
  cache = new MemoryShardCache(0);
  host = makeHost();
  await host.configure(MODEL, PLEDGE_BYTES);
  host.assign({ epoch: 1, shards: refs });
  await host.settled();
  expect(said).toEqual(['cache quota']);
  await expectServing(refs);
});
