import type { WorkItem } from '@shoal/model';
import { shardBytes } from '@shoal/weights';
import type { ExpertBackend, KernelErrorReason } from '../backend.ts';
import { type ConformanceBench, require } from './conformance-bench.ts';
import { requireRefusal } from './requirements.ts';

// Checks of the conformance suite about how a backend keeps experts and what it refuses.

export async function checkGrowth(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  const layers = [0, 2, 9];
  for (let expert = 0; expert < 11; expert++) {
    await Promise.all(layers.map((layer) => bench.load(layer, expert)));
    const lap = bench.lap(layers[expert % 3]!, 4, [0, expert]);
    bench.compare(lap, (await backend.run(lap)).partial);
  }
  // Experts that are loaded survive a smaller and a larger reservation.
  await backend.reserve(2, [1]);
  await backend.reserve(
    2,
    Array.from({ length: 30 }, (_, expert) => expert),
  );
  const lap = bench.lap(
    2,
    20,
    Array.from({ length: 11 }, (_, expert) => expert),
  );
  return `NMSE ${bench.compare(lap, (await backend.run(lap)).partial).toExponential(1)}`;
}

export async function checkReload(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  const experts = [0, 1, 2];
  await bench.loadAll(5, experts);
  for (let round = 0; round < 8; round++) {
    const lap = bench.lap(5, 30, experts);
    const reference = bench.reference(lap);
    const result = backend.run(lap);
    const victim = round % 3;
    if (round === 7) for (const expert of experts) backend.unload(5, expert);
    else backend.unload(5, victim);
    require(!backend.has(5, victim), `has(5, ${victim}) is still true after unload`);
    await requireRefusal('not-loaded', () => backend.run(lap));
    const loaded = bench.load(5, victim);
    bench.compareWith(reference, (await result).partial);
    await loaded;
    if (round === 7) for (const expert of experts) await bench.load(5, expert);
    require(backend.has(5, victim), `has(5, ${victim}) is false after load`);
    const again = bench.lap(5, 9, experts);
    bench.compare(again, (await backend.run(again)).partial);
  }
  return '8 rounds';
}

export async function checkMemory(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  require(backend.allocatedBytes === 0, `a new backend holds ${backend.allocatedBytes} bytes`);
  require(backend.maxExpertsPerLayer >= 1, `maxExpertsPerLayer is ${backend.maxExpertsPerLayer}`);
  await backend.reserve(1, [4, 5, 6]);
  await bench.loadAll(1, [4, 5, 6]);
  const held = backend.allocatedBytes;
  require(held >= 3 * shardBytes(backend.shape), `three experts, and allocatedBytes is ${held}`);
  await bench.load(1, 5);
  require(backend.allocatedBytes === held, 'loading an expert again took more memory');
  for (const expert of [4, 5, 6, 6]) backend.unload(1, expert);
  backend.unload(7, 0);
  require(backend.allocatedBytes === 0, `${backend.allocatedBytes} bytes are held after everything was unloaded`);
  return `${held} bytes for three experts`;
}

export async function checkRefusals(backend: ExpertBackend, bench: ConformanceBench): Promise<string> {
  await bench.loadAll(1, [0, 1]);
  const lap = bench.lap(1, 3, [0, 1]);
  const one = lap.experts.length;
  const wrong: [KernelErrorReason, WorkItem][] = [
    ['not-loaded', { ...lap, experts: Uint16Array.from(lap.experts, (expert, i) => (i === one - 1 ? 2 : expert)) }],
    ['not-loaded', { ...lap, layer: 2 }],
    ['bad-lap', { ...lap, numRows: 2 }],
    ['bad-lap', { ...lap, numRows: -1 }],
    ['bad-lap', { ...lap, numRows: 2.5 }],
    ['bad-lap', { ...lap, rows: lap.rows.subarray(1) }],
    ['bad-lap', { ...lap, rowEnd: lap.rowEnd.subarray(1) }],
    ['bad-lap', { ...lap, rowEnd: lap.rowEnd.slice().reverse() }],
    ['bad-lap', { ...lap, rowEnd: Uint16Array.from(lap.rowEnd, (end) => end + 1) }],
    ['bad-lap', { ...lap, weights: lap.weights.subarray(1) }],
    ['bad-lap', { ...lap, experts: lap.experts.subarray(1), weights: lap.weights.subarray(1) }],
    ['bad-lap', bench.lapOf(1, [Array.from({ length: 2000 }, () => 0)])],
  ];
  for (const [reason, bad] of wrong) await requireRefusal(reason, () => backend.run(bad));
  const shard = bench.shard(1, 0);
  await requireRefusal('bad-shard', () => backend.load(1, 0, shard.subarray(0, shard.length - 16)));
  await requireRefusal('bad-shard', () => backend.load(1, 3, new Uint8Array(0)));
  require(!backend.has(1, 3), 'a refused shard counts as loaded');
  bench.compare(lap, (await backend.run(lap)).partial);
  return `${wrong.length + 2} refusals`;
}
