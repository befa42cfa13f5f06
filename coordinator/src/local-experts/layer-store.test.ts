import { createReferenceBackend } from '@shoal/kernels';
import { createRng, encodeF16, type WorkItem, uniformWorkItem } from '@shoal/model';
import { packExpert } from '@shoal/weights';
import { expect, it } from 'vitest';
import { LayerStore } from './layer-store.ts';

const SHAPE = { hiddenSize: 32, moeIntermediateSize: 32, quant: 'f16' } as const;
const EXPERTS = 6;

async function read(layer: number, expert: number): Promise<Uint8Array> {
  const rng = createRng(100 * layer + expert);
  const matrix = (): Float32Array => Float32Array.from({ length: 32 * 32 }, () => rng() - 0.5);
  return packExpert(SHAPE, { gate: matrix(), up: matrix(), down: matrix() });
}

/** Loads layers 1 to 3; also returns the number of backends and of progress calls. */
async function stored(maxExpertsPerBackend: number) {
  let backends = 0;
  let told = 0;
  const experts = new LayerStore({
    expertsPerLayer: EXPERTS,
    createBackend: async () => {
      backends++;
      return createReferenceBackend(SHAPE);
    },
    read,
    maxExpertsPerBackend,
  });
  for (const layer of [1, 2, 3]) await experts.load(layer, () => told++);
  return { experts, backends, told };
}

function itemOf(layer: number): WorkItem {
  const rng = createRng(layer);
  const numRows = 5;
  return uniformWorkItem({
    layer,
    numRows,
    rows: encodeF16(Float32Array.from({ length: numRows * SHAPE.hiddenSize }, () => rng() - 0.5)),
    experts: Uint16Array.from({ length: 2 * numRows }, (_, a) => (a * 5 + layer) % EXPERTS),
    weights: Float32Array.from({ length: 2 * numRows }, () => rng()),
  });
}

it.each([
  ['all in one backend', 18, 1],
  ['whole layers in one each, though another layer’s would have filled its rest', 8, 3],
  ['layers larger than a backend in several', 4, 5],
])('LayerStore keeps layers loaded: %s', async (_, perBackend, backends) => {
  const whole = createReferenceBackend(SHAPE);
  const found = await stored(perBackend);
  expect(found).toMatchObject({ backends, told: 3 * EXPERTS });
  expect([0, 1, 2, 3, 4].map((layer) => found.experts.has(layer))).toEqual([false, true, true, true, false]);
  for (const layer of [1, 2, 3]) {
    for (let expert = 0; expert < EXPERTS; expert++) await whole.load(layer, expert, await read(layer, expert));
    const lap = itemOf(layer);
    const { partial } = await whole.run(lap);
    const got = await found.experts.run(lap);
    // Two sums instead of one, in f32.
    for (const [i, value] of partial.entries()) expect(got[i]).toBeCloseTo(value, 6);
    if (perBackend >= EXPERTS) expect(got).toEqual(partial);
  }
});

it('LayerStore does not have a layer whose weights cannot be read, and can load it later', async () => {
  let broken = true;
  const experts = new LayerStore({
    expertsPerLayer: EXPERTS,
    createBackend: async () => createReferenceBackend(SHAPE),
    read: async (layer, expert) => {
      if (broken && expert === 4) throw new Error('expert 4 is unreadable');
      return read(layer, expert);
    },
  });
  await expect(experts.load(1, () => {})).rejects.toThrow('expert 4 is unreadable');
  expect(experts.has(1)).toBe(false);
  broken = false;
  await experts.load(1, () => {});
  expect((await experts.run(itemOf(1))).every(Number.isFinite)).toBe(true);
});
