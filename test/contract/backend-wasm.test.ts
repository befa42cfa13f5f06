import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createWasmBackend, runnableVariants, variantFile } from '@shoal/kernels/node';
import { createRng, encodeF16, expertNorms, type WorkItem, uniformWorkItem } from '@shoal/model';
import { packExpert, QUANTS, unpackExpert, type ExpertShape } from '@shoal/weights';
import { describe, expect, it } from 'vitest';
import { describeExpertBackend } from './backend-suite.ts';

for (const variant of runnableVariants()) {
  const threads = variant.threads ? 3 : 1;
  describeExpertBackend(`wasm (${variantFile(variant)}, threads: ${threads})`, (shape) =>
    createWasmBackend({ shape, variant, threads }),
  );
}

// When it was inlined into a function with code behind it, threads read memory that others had not written yet: docs/adr/0014.
it('sleeps in one function of the module only', async () => {
  const bytes = await readFile(join(import.meta.dirname, '../../packages/kernels/dist/shoal-threads.wasm'));
  // memory.atomic.wait32, aligned to four bytes
  const wait = Buffer.from([0xfe, 0x01, 0x02]);
  const first = bytes.indexOf(wait);
  expect(first).toBeGreaterThan(0);
  expect(bytes.indexOf(wait, first + 1)).toBe(-1);
});

const EXPERTS = 5;

function shardOf(shape: ExpertShape, seed: number): Uint8Array {
  const rng = createRng(seed);
  const size = shape.hiddenSize * shape.moeIntermediateSize;
  const matrix = (): Float32Array => Float32Array.from({ length: size }, () => (rng() + rng() - 1) / 8);
  return packExpert(shape, { gate: matrix(), up: matrix(), down: matrix() });
}

function lapOf(shape: ExpertShape, numRows: number, perRow: number): WorkItem {
  const rng = createRng(numRows);
  const count = numRows * perRow;
  return uniformWorkItem({
    layer: 0,
    numRows,
    rows: encodeF16(Float32Array.from({ length: numRows * shape.hiddenSize }, () => rng() * 4 - 2)),
    experts: Uint16Array.from({ length: count }, () => Math.floor(rng() * EXPERTS)),
    weights: Float32Array.from({ length: count }, () => rng()),
  });
}

const bytesOf = ({ buffer }: Float32Array): Uint8Array => new Uint8Array(buffer);

describe.each(QUANTS)('the WebAssembly backend, %s', (quant) => {
  const shape: ExpertShape = { hiddenSize: 300, moeIntermediateSize: 270, quant };
  const relaxed = false;

  it('gives the same bits on one thread and on several', async () => {
    const one = await createWasmBackend({ shape, variant: { threads: false, relaxed } });
    const several = await createWasmBackend({ shape, variant: { threads: true, relaxed }, threads: 3 });
    for (let expert = 0; expert < EXPERTS; expert++) {
      for (const backend of [one, several]) await backend.load(0, expert, shardOf(shape, expert));
    }
    for (const lap of [lapOf(shape, 1, 4), lapOf(shape, 33, 3), lapOf(shape, 1, 1000), lapOf(shape, 1500, 2)]) {
      const expected = (await one.run(lap)).partial;
      // One thread and several are timed in turns, so both compute some of these laps.
      for (let i = 0; i < 8; i++) {
        const { partial } = await several.run(lap);
        expect(Buffer.compare(bytesOf(partial), bytesOf(expected))).toBe(0);
      }
    }
    one.destroy();
    several.destroy();
  });

  it('knows the norms of what it holds', async () => {
    const backend = await createWasmBackend({ shape });
    const shard = shardOf(shape, 7);
    await backend.load(3, 1, shard);
    const { gate, up, down } = expertNorms(unpackExpert(shape, shard));
    const norms = backend.normsOf(3, 1);
    for (const ratio of [norms.gate / gate, norms.up / up, norms.down / down]) expect(ratio).toBeCloseTo(1, 5);
    expect(() => backend.normsOf(3, 2)).toThrow(expect.objectContaining({ reason: 'not-loaded' }));
    backend.destroy();
    await expect(backend.load(3, 1, shard)).rejects.toMatchObject({ reason: 'device-lost' });
  });

  it('refuses what 32-bit addresses cannot reach, before it takes any memory, and goes on', async () => {
    const large: ExpertShape = { hiddenSize: 7168, moeIntermediateSize: 2048, quant };
    const backend = await createWasmBackend({ shape: large });
    const experts = Array.from({ length: 400 }, (_, expert) => expert);
    await expect(backend.reserve(0, experts)).rejects.toMatchObject({
      reason: 'out-of-memory',
      message: expect.stringContaining('4 GiB'),
    });
    expect(backend.allocatedBytes).toBeLessThan(2 ** 20);
    expect(backend.maxExpertsPerLayer).toBeLessThan(400);
    backend.destroy();
  });
});
