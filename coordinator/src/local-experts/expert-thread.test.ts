import { mkdtemp, readdir, rename, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createReferenceBackend } from '@shoal/kernels';
import { createRng, encodeF16, type ExpertNorms, expertNorms, type WorkItem, uniformWorkItem } from '@shoal/model';
import { ensurePacked, type PackedModel } from '@shoal/weights/node';
import { unpackExpert } from '@shoal/weights';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ROOT_DIR } from '../config.ts';
import { compareRow } from '../trust/compare.ts';
import { ExpertThread } from './expert-thread.ts';

let cacheDir: string;
let packed: PackedModel;
let worker: ExpertThread;
const loaded = new Map<string, ExpertNorms>();

beforeAll(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'shoal-worker-'));
  packed = await ensurePacked({ modelDir: join(ROOT_DIR, 'models/tiny-stories'), quant: 'q8', cacheDir });
});
afterAll(() => rm(cacheDir, { recursive: true }));
afterEach(() => worker.close());

function start(options: { maxBytes?: number; timeoutMs?: number } = {}): void {
  loaded.clear();
  worker = new ExpertThread({
    packedDir: packed.dir,
    maxBytes: 2 ** 30,
    onLoaded: (layer, expert, norms) => void loaded.set(`${layer}/${expert}`, norms),
    ...options,
  });
}

function itemOf(numRows: number, perRow = 4, seed = 5): WorkItem {
  const rng = createRng(seed);
  const { shape, expertsPerLayer, expertLayers } = packed.manifest;
  return uniformWorkItem({
    layer: expertLayers[1]!,
    numRows,
    rows: encodeF16(Float32Array.from({ length: numRows * shape.hiddenSize }, () => (rng() + rng() - 1) * 2)),
    experts: Uint16Array.from({ length: numRows * perRow }, () => Math.floor(rng() * expertsPerLayer)),
    weights: Float32Array.from({ length: numRows * perRow }, () => rng()),
  });
}

async function reference(item: WorkItem): Promise<Float32Array> {
  const backend = createReferenceBackend(packed.manifest.shape);
  for (const expert of new Set(item.experts)) {
    await backend.load(item.layer, expert, await packed.readShard(item.layer, expert));
  }
  return (await backend.run(item)).partial;
}

describe('ExpertThread', () => {
  it('computes what the reference does, and calls onLoaded with the norms', async () => {
    start();
    const item = itemOf(40);
    const expected = await reference(item);
    const meter = { busyMs: 0 };
    const answers = [
      await worker.laps.compute(item, meter),
      await worker.audits.compute(item),
      await worker.rechecks.compute(item),
    ];
    expect(meter.busyMs).toBeGreaterThan(0);
    const D = packed.manifest.shape.hiddenSize;
    for (const answer of answers) {
      for (let row = 0; row < item.numRows; row++) {
        const [a, b] = [answer, expected].map((of) => of.subarray(row * D, (row + 1) * D));
        expect(compareRow(a!, b!, { maxRelativeL2: 1e-4, maxNormDeviation: 1e-4, rowFormat: 'f16' }).verdict).toBe(
          'match',
        );
      }
    }
    for (const expert of new Set(item.experts)) {
      const weights = unpackExpert(packed.manifest.shape, await packed.readShard(item.layer, expert));
      expect(loaded.get(`${item.layer}/${expert}`)!.down / expertNorms(weights).down).toBeCloseTo(1, 5);
    }
  });

  it('gives the same bits within little memory, in pieces, as with all of it', async () => {
    start();
    const item = itemOf(30, 3);
    const whole = await worker.laps.compute(item);
    await worker.close();
    start({ maxBytes: 4 * packed.manifest.shardBytes });
    expect(await worker.laps.compute(item)).toEqual(whole);
  });

  it('reads weights anew for a recheck: a spoilt file is found, named, and spoils nothing that is cached', async () => {
    start();
    const item = itemOf(1, 1);
    const before = await worker.audits.compute(item);
    const { shards } = packed.manifest;
    const path = packed.shardPath(shards[item.layer]![item.experts[0]!]!)!;
    const bytes = await readFile(path);
    await writeFile(
      path,
      bytes.map((byte, i) => (i === 100 ? byte ^ 0x55 : byte)),
    );
    await expect(worker.rechecks.compute(item)).rejects.toThrow(path);
    expect(await worker.audits.compute(item)).toEqual(before);
    await writeFile(path, bytes);
    expect(await worker.rechecks.compute(item)).toEqual(before);
    expect((await readdir(join(packed.dir))).length).toBeGreaterThan(0);
  });

  it('keeps loaded layers for as long as its thread lives', async () => {
    start({ maxBytes: 0, timeoutMs: 10_000 });
    const item = itemOf(4);
    const expected = await worker.laps.compute(item);
    const progress: number[] = [];
    await worker.load([item.layer], ({ doneBytes }) => progress.push(doneBytes));
    const { shardBytes, expertsPerLayer } = packed.manifest;
    expect(progress).toEqual(Array.from({ length: expertsPerLayer + 1 }, (_, i) => i * shardBytes));
    expect([worker.has(item.layer), worker.has(item.layer + 1)]).toEqual([true, false]);
    expect(await worker.laps.compute(item)).toEqual(expected);
    await expect(worker.load([77])).rejects.toThrow(/layer 77/);
    await worker.close();
    expect(worker.has(item.layer)).toBe(false);
  });

  it('fails a task that hangs, and does the next one in a new thread', async () => {
    start({ timeoutMs: 1 });
    await expect(worker.laps.compute(itemOf(300))).rejects.toThrow(/gave no answer within/);
    await worker.close();
    start();
    await expect(worker.laps.compute({ ...itemOf(1), layer: 77 })).rejects.toThrow(/layer 77/);
    expect(await worker.laps.compute(itemOf(1))).toHaveLength(packed.manifest.shape.hiddenSize);
  });

  it('opens its files again for the next task, after it could not', async () => {
    const away = `${packed.dir}-away`;
    await rename(packed.dir, away);
    start();
    await expect(worker.laps.compute(itemOf(1))).rejects.toThrow('manifest.json');
    await expect(worker.laps.compute(itemOf(1))).rejects.toThrow('manifest.json');
    await rename(away, packed.dir);
    expect(await worker.laps.compute(itemOf(1))).toHaveLength(packed.manifest.shape.hiddenSize);
  });

  it('takes laps before audits, and on closing rejects what waits', async () => {
    start();
    await worker.laps.compute(itemOf(1));
    const order: string[] = [];
    const running = worker.audits.compute(itemOf(64)).then(() => order.push('first audit'));
    const audit = worker.audits.compute(itemOf(1)).then(() => order.push('audit'));
    const lap = worker.laps.compute(itemOf(1)).then(() => order.push('lap'));
    await Promise.all([running, audit, lap]);
    expect(order).toEqual(['first audit', 'lap', 'audit']);
    const waiting = [worker.laps.compute(itemOf(64)), worker.audits.compute(itemOf(1))];
    const outcomes = Promise.allSettled(waiting);
    await worker.close();
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await expect(worker.laps.compute(itemOf(1))).rejects.toThrow(/shutting down/);
  });
});
